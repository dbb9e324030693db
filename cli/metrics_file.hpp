#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <CLI/CLI.hpp>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::cli {

/// Where a command's Prometheus text goes; no path: nowhere.
struct MetricsFlags {
  std::string path;
  Duration interval = std::chrono::seconds(10);

  /// Adds `--metrics FILE` and `--metrics-interval`.
  void add(CLI::App& app);
};

/// A file with the latest metrics, for a node exporter's textfile collector or whoever reads files: replaced as a
/// whole, so never seen half written, each interval and a last time by `finish`. Everything on `executor`, which must
/// have one thread, or be a strand; it and the timers must outlive it.
class MetricsFile {
 public:
  using Text = std::function<std::string()>;

  /// Writes it for the first time. Errors: `invalid_argument` when that fails, naming the file.
  [[nodiscard]] static Result<MetricsFile> open(const MetricsFlags& flags, boost::asio::any_io_executor executor,
                                                TimerService& timers, LogSink log, Text text);
  ~MetricsFile();
  MetricsFile(MetricsFile&&) noexcept;
  MetricsFile& operator=(MetricsFile&&) noexcept;

  /// Writes the final figures, and stops. What fails is logged, as in between.
  void finish();

 private:
  struct Writer;
  explicit MetricsFile(std::shared_ptr<Writer> writer) noexcept;

  std::shared_ptr<Writer> writer_;
};

}  // namespace sharingbus::cli
