// SPDX-License-Identifier: Apache-2.0
#include "kvant/text/end_ids.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "core/guard.hpp"
#include "kvant/io/input_file.hpp"
#include "side_file.hpp"

namespace kvant::text {

namespace {

constexpr io::JsonLimits kConfigLimits{std::size_t{16} << 20, std::size_t{1} << 20, 32};

Status add_ids(const io::Json& config, const Where& where, std::vector<std::int32_t>& ids) {
  if (!config.is_object()) return fail(ErrorCode::bad_config, "is no JSON object", where);
  const io::Json* value = config.find("eos_token_id");
  if (value == nullptr || value->is_null()) return {};
  const auto add = [&](const io::Json& item) -> Status {
    const auto id = item.as_int64();
    if (!id || *id < 0 || *id > std::numeric_limits<std::int32_t>::max())
      return fail(ErrorCode::bad_config,
                  "\"eos_token_id\" is " + io::to_text(*value).substr(0, 100) +
                      ", expected a token id, an integer from 0 to 2147483647, or a list of them",
                  where);
    ids.push_back(static_cast<std::int32_t>(*id));
    return {};
  };
  if (!value->is_array()) return add(*value);
  for (const io::Json& item : value->items())
    if (auto ok = add(item); !ok) return ok;
  return {};
}

}  // namespace

Result<std::vector<std::int32_t>> end_ids(const std::filesystem::path& folder, const Tokenizer& tokenizer) {
  return guarded([&]() -> Result<std::vector<std::int32_t>> {
    std::vector<std::int32_t> ids;
    for (const char* name : {"generation_config.json", "config.json"}) {
      const auto config = read_side_file(folder / name, kConfigLimits);
      if (!config) return propagate(config);
      if (!*config) continue;
      if (auto ok = add_ids(**config, io::where_of(folder / name), ids); !ok) return propagate(ok);
    }
    if (const auto id = tokenizer.eos_id()) ids.push_back(*id);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
  });
}

}  // namespace kvant::text
