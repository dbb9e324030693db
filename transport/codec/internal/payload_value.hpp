#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sharingbus::transport::internal {

/// One value of a payload. What an array or a map holds lies behind it, of a map each key as a text before its value,
/// so that a payload is one row of these, in its own order. Views of a document and its payload.
class PayloadValue {
 public:
  enum class Kind : std::uint8_t {
    null,
    boolean,
    integer,  ///< One that 64 bits with a sign can hold.
    large,    ///< An integer beyond that.
    real,
    text,
    binary,
    array,
    map,
  };

  PayloadValue() noexcept : PayloadValue(Kind::null) {}
  /// Nothing, or an array or a map that holds nothing yet.
  explicit PayloadValue(Kind kind) noexcept : integer_(0), kind_(kind) {}
  explicit PayloadValue(bool value) noexcept : integer_(value ? 1 : 0), kind_(Kind::boolean) {}
  explicit PayloadValue(std::int64_t value) noexcept : integer_(value), kind_(Kind::integer) {}
  explicit PayloadValue(double value) noexcept : real_(value), kind_(Kind::real) {}
  explicit PayloadValue(std::uint64_t value) noexcept : large_(value), kind_(Kind::large) {
    if (value <= static_cast<std::uint64_t>(INT64_MAX)) *this = PayloadValue(static_cast<std::int64_t>(value));
  }
  /// `bytes` are not copied.
  PayloadValue(Kind text_or_binary, std::string_view bytes) noexcept
      : text_(bytes.data()), size_(static_cast<std::uint32_t>(bytes.size())), kind_(text_or_binary) {}

  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  [[nodiscard]] bool is_null() const noexcept { return kind_ == Kind::null; }
  [[nodiscard]] bool is_text() const noexcept { return kind_ == Kind::text; }
  [[nodiscard]] bool is_array() const noexcept { return kind_ == Kind::array; }
  [[nodiscard]] bool is_map() const noexcept { return kind_ == Kind::map; }

  /// For the kind of that name only.
  [[nodiscard]] bool boolean() const noexcept { return integer_ != 0; }
  [[nodiscard]] std::int64_t integer() const noexcept { return integer_; }
  [[nodiscard]] std::uint64_t large() const noexcept { return large_; }
  [[nodiscard]] double real() const noexcept { return real_; }
  /// Of a text or binary data.
  [[nodiscard]] std::string_view bytes() const noexcept { return {text_, size_}; }
  /// Of an array or a map: how many elements or members. Keys of a map are unique.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// The first of what an array or a map holds, and what comes behind it all.
  [[nodiscard]] const PayloadValue* first() const noexcept { return this + 1; }
  [[nodiscard]] const PayloadValue* behind() const noexcept { return this + span_; }
  /// The element at `position` of an array; null when there is none.
  [[nodiscard]] const PayloadValue* element(std::size_t position) const noexcept;
  /// What a map has for `key`; null when there is nothing.
  [[nodiscard]] const PayloadValue* find(std::string_view key) const noexcept;
  /// Whether a map may have `key`: rarely true when it has not.
  [[nodiscard]] bool may_have(std::string_view key) const noexcept { return (large_ & mark(key)) != 0; }

  /// One bit of 64, the same for equal keys.
  [[nodiscard]] static std::uint64_t mark(std::string_view key) noexcept {
    if (key.empty()) return 1;
    const auto ends = static_cast<unsigned char>(key.front()) * 3U + static_cast<unsigned char>(key.back());
    return std::uint64_t{1} << ((key.size() * 5 + ends) % 64);
  }
  /// Of an array or a map, once everything that it holds lies behind it. `marks` are those of a map's keys.
  void complete(std::size_t size, std::size_t span, std::uint64_t marks) noexcept {
    large_ = marks;
    size_ = static_cast<std::uint32_t>(size);
    span_ = static_cast<std::uint32_t>(span);
  }

 private:
  union {
    std::int64_t integer_;
    std::uint64_t large_;
    double real_;
    const char* text_;
  };
  std::uint32_t size_ = 0;
  std::uint32_t span_ = 1;
  Kind kind_;
};

/// What an array holds.
class PayloadElements {
 public:
  class iterator {
   public:
    explicit iterator(const PayloadValue* at) noexcept : at_(at) {}
    const PayloadValue& operator*() const noexcept { return *at_; }
    iterator& operator++() noexcept {
      at_ = at_->behind();
      return *this;
    }
    bool operator==(const iterator&) const = default;

   private:
    const PayloadValue* at_;
  };

  explicit PayloadElements(const PayloadValue& array) noexcept : array_(array) {}
  [[nodiscard]] iterator begin() const noexcept { return iterator(array_.first()); }
  [[nodiscard]] iterator end() const noexcept { return iterator(array_.behind()); }

 private:
  const PayloadValue& array_;
};

/// What a map holds.
class PayloadMembers {
 public:
  struct Member {
    std::string_view key;
    const PayloadValue& value;
  };
  class iterator {
   public:
    explicit iterator(const PayloadValue* key) noexcept : key_(key) {}
    Member operator*() const noexcept { return {key_->bytes(), key_[1]}; }
    iterator& operator++() noexcept {
      key_ = key_[1].behind();
      return *this;
    }
    bool operator==(const iterator&) const = default;

   private:
    const PayloadValue* key_;
  };

  explicit PayloadMembers(const PayloadValue& map) noexcept : map_(map) {}
  [[nodiscard]] iterator begin() const noexcept { return iterator(map_.first()); }
  [[nodiscard]] iterator end() const noexcept { return iterator(map_.behind()); }

 private:
  const PayloadValue& map_;
};

inline const PayloadValue* PayloadValue::element(std::size_t position) const noexcept {
  if (position >= size_) return nullptr;
  const PayloadValue* at = first();
  for (; position != 0; --position)
    at = at->behind();
  return at;
}

inline const PayloadValue* PayloadValue::find(std::string_view key) const noexcept {
  for (const auto& member : PayloadMembers(*this)) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

}  // namespace sharingbus::transport::internal
