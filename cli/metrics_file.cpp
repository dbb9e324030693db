#include "cli/metrics_file.hpp"

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>
#include <utility>

#include <boost/asio/post.hpp>

#include "cli/flags.hpp"

namespace sharingbus::cli {
namespace {

Result<> replace_file(const std::string& path, const std::string& text) {
  const auto failed = [](const std::string& what) {
    return Error(errc::invalid_argument, what + ": " + std::generic_category().message(errno));
  };
  // Beside it, as a rename cannot leave the file system.
  const std::string beside = path + ".tmp";
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  if (!file.is_open()) return failed("cannot write " + beside);
  file << text;
  file.close();
  if (file.fail()) return failed("cannot write " + beside);
  if (std::rename(beside.c_str(), path.c_str()) != 0) {
    const Error why = failed("cannot replace " + path);
    std::remove(beside.c_str());
    return why;
  }
  return {};
}

}  // namespace

void MetricsFlags::add(CLI::App& app) {
  app.add_option("--metrics", path, "File that is kept up to date with metrics as Prometheus text");
  add_duration(app, "--metrics-interval", interval, "With --metrics: between two updates of the file", Zero::refused);
}

struct MetricsFile::Writer : std::enable_shared_from_this<Writer> {
  Writer(const MetricsFlags& flags, boost::asio::any_io_executor on, TimerService& clock, LogSink sink, Text render)
      : path(flags.path),
        interval(flags.interval),
        executor(std::move(on)),
        timers(clock),
        log(std::move(sink)),
        text(std::move(render)) {}

  void write_again() {
    if (const auto written = replace_file(path, text()); !written)
      log(LogLevel::warn, "metrics: " + written.error().message);
  }

  void arm() {
    timer = timers.schedule_after(interval, [weak = weak_from_this(), to = executor] {
      boost::asio::post(to, [weak] {
        const auto self = weak.lock();
        if (!self || self->finished) return;
        self->write_again();
        self->arm();
      });
    });
  }

  const std::string path;
  const Duration interval;
  const boost::asio::any_io_executor executor;
  TimerService& timers;
  const LogSink log;
  const Text text;
  TimerId timer = 0;
  bool finished = false;
};

Result<MetricsFile> MetricsFile::open(const MetricsFlags& flags, boost::asio::any_io_executor executor,
                                      TimerService& timers, LogSink log, Text text) {
  if (flags.path.empty()) return MetricsFile(nullptr);
  auto writer = std::make_shared<Writer>(flags, std::move(executor), timers, std::move(log), std::move(text));
  if (auto written = replace_file(writer->path, writer->text()); !written) return std::move(written).error();
  writer->arm();
  return MetricsFile(std::move(writer));
}

MetricsFile::MetricsFile(std::shared_ptr<Writer> writer) noexcept : writer_(std::move(writer)) {}
MetricsFile::MetricsFile(MetricsFile&&) noexcept = default;
MetricsFile& MetricsFile::operator=(MetricsFile&&) noexcept = default;

MetricsFile::~MetricsFile() {
  if (writer_) writer_->timers.cancel(writer_->timer);
}

void MetricsFile::finish() {
  if (!writer_ || std::exchange(writer_->finished, true)) return;
  writer_->timers.cancel(writer_->timer);
  writer_->write_again();
}

}  // namespace sharingbus::cli
