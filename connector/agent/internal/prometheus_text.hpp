#pragma once

#include <string>
#include <string_view>

namespace sharingbus::connector::internal {

/// Appends `text` as Prometheus wants it in a help text or, with `quotes`, in the value of a label.
void append_escaped(std::string& out, std::string_view text, bool quotes);
/// Appends what stands above a metric's samples: its help, unless that is empty, and its type.
void append_header(std::string& out, std::string_view name, std::string_view type, std::string_view help);

}  // namespace sharingbus::connector::internal
