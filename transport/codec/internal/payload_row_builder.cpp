#include "transport/codec/internal/payload_row_builder.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace sharingbus::transport::internal {

void PayloadRowBuilder::part(std::string_view bytes) {
  // No text is longer than what it was written as, so the copies never move.
  if (copies_.capacity() < payload_.size()) copies_.reserve(payload_.size());
  if (!parted_) part_begin_ = copies_.size();
  parted_ = true;
  copies_.append(bytes);
}

std::string_view PayloadRowBuilder::copied(std::string_view rest) {
  part(rest);
  parted_ = false;
  return std::string_view(copies_).substr(part_begin_);
}

void PayloadRowBuilder::close_array() {
  const std::size_t array = open_[--depth_];
  std::size_t size = 0;
  const PayloadValue* const end = row_.data() + row_.size();
  for (const PayloadValue* at = row_.data() + array + 1; at != end; at = at->behind())
    ++size;
  row_[array].complete(size, row_.size() - array, 0);
}

void PayloadRowBuilder::close_map() {
  // Beyond that, comparing each key with those before it is too much work.
  constexpr std::size_t kFew = 32;
  const std::size_t map = open_[--depth_];
  std::size_t size = 0;
  std::uint64_t marks = 0;
  bool repeated = false;
  const PayloadValue* const end = row_.data() + row_.size();
  for (const PayloadValue* key = row_.data() + map + 1; key != end; key = key[1].behind()) {
    const std::uint64_t mark = PayloadValue::mark(key->bytes());
    if ((marks & mark) != 0 && !repeated) repeated = size >= kFew || repeats(map, key);
    marks |= mark;
    ++size;
  }
  if (repeated) size -= drop_repeated(map);
  row_[map].complete(size, row_.size() - map, marks);
}

bool PayloadRowBuilder::repeats(std::size_t map, const PayloadValue* key) const noexcept {
  for (const PayloadValue* at = row_.data() + map + 1; at != key; at = at[1].behind()) {
    if (at->bytes() == key->bytes()) return true;
  }
  return false;
}

std::size_t PayloadRowBuilder::drop_repeated(std::size_t map) {
  std::vector<const PayloadValue*> keys;
  const PayloadValue* const end = row_.data() + row_.size();
  for (const PayloadValue* key = row_.data() + map + 1; key != end; key = key[1].behind())
    keys.push_back(key);
  std::sort(keys.begin(), keys.end(), [](const PayloadValue* a, const PayloadValue* b) {
    const int order = a->bytes().compare(b->bytes());
    return order != 0 ? order < 0 : a < b;
  });
  std::vector<const PayloadValue*> kept;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i + 1 == keys.size() || keys[i]->bytes() != keys[i + 1]->bytes()) kept.push_back(keys[i]);
  }
  std::sort(kept.begin(), kept.end());
  PayloadValue* to = row_.data() + map + 1;
  for (const PayloadValue* key : kept)
    to = std::copy(key, key[1].behind(), to);
  row_.resize(static_cast<std::size_t>(to - row_.data()));
  return keys.size() - kept.size();
}

}  // namespace sharingbus::transport::internal
