#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <absl/container/flat_hash_map.h>

#include "bus/internal/address_pattern.hpp"
#include "bus/internal/match_hash.hpp"

namespace sharingbus::internal {

/// Buckets by address pattern, one level a token. An address visits the nodes that its tokens lead to, so its cost is
/// that of the patterns which agree with its beginning. Recursion is as deep as the longest pattern.
template <class Bucket>
class AddressTrie {
 public:
  [[nodiscard]] bool empty() const noexcept { return root_.unused(); }

  /// The bucket of a valid pattern, made if there is none.
  Bucket& operator[](std::string_view pattern) {
    Node* node = &root_;
    for (bool more = true; more;) {
      const std::string_view token = next_address_token(pattern, more);
      if (token == ">") return node->rest;
      std::unique_ptr<Node>& child = token == "*" ? node->any : node->tokens[token];
      if (child == nullptr) child = std::make_unique<Node>();
      node = child.get();
    }
    return node->here;
  }

  /// Calls `fn(Bucket&)` for a pattern's bucket, if there is one, and drops what that leaves without subscribers.
  template <class Fn>
  void change(std::string_view pattern, Fn&& fn) {
    change(root_, pattern, true, fn);
  }

  /// Calls `fn(const Bucket&)` for every bucket whose pattern matches.
  template <class Fn>
  void for_each_match(std::string_view address, Fn&& fn) const {
    visit(root_, address, true, fn);
  }

 private:
  struct Node {
    absl::flat_hash_map<std::string, std::unique_ptr<Node>, MatchTextHash, std::equal_to<>> tokens;
    std::unique_ptr<Node> any;
    /// Of patterns that end here, and with `>` behind here.
    Bucket here;
    Bucket rest;

    [[nodiscard]] bool unused() const noexcept {
      return tokens.empty() && any == nullptr && here.empty() && rest.empty();
    }
  };

  template <class Fn>
  static void change(Node& node, std::string_view pattern, bool more, Fn& fn) {
    if (!more) return fn(node.here);
    const std::string_view token = next_address_token(pattern, more);
    if (token == ">") return fn(node.rest);
    if (token == "*") {
      if (node.any == nullptr) return;
      change(*node.any, pattern, more, fn);
      if (node.any->unused()) node.any.reset();
      return;
    }
    const auto child = node.tokens.find(token);
    if (child == node.tokens.end()) return;
    change(*child->second, pattern, more, fn);
    if (child->second->unused()) node.tokens.erase(child);
  }

  /// `more`: a token is left, if only an empty one.
  template <class Fn>
  static void visit(const Node& node, std::string_view address, bool more, Fn& fn) {
    if (!more) return fn(node.here);
    fn(node.rest);
    if (node.tokens.empty() && node.any == nullptr) return;
    const std::string_view token = next_address_token(address, more);
    if (node.any != nullptr) visit(*node.any, address, more, fn);
    if (node.tokens.empty()) return;
    if (const auto child = node.tokens.find(token); child != node.tokens.end())
      visit(*child->second, address, more, fn);
  }

  Node root_;
};

}  // namespace sharingbus::internal
