#include "connector/agent/internal/prometheus_text.hpp"

namespace sharingbus::connector::internal {

void append_escaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\') {
      out.append("\\\\");
    } else if (c == '\n') {
      out.append("\\n");
    } else if (quotes && c == '"') {
      out.append("\\\"");
    } else {
      out.push_back(c);
    }
  }
}

void append_header(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  if (!help.empty()) {
    out.append("# HELP ").append(name).append(" ");
    append_escaped(out, help, false);
    out.push_back('\n');
  }
  out.append("# TYPE ").append(name).append(" ").append(type).append("\n");
}

}  // namespace sharingbus::connector::internal
