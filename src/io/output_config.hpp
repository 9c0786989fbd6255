// SPDX-License-Identifier: Apache-2.0
// What a new checkpoint says of itself, where its source said something else.
#pragma once

#include <optional>
#include <string>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/metadata.hpp"
#include "kvant/io/weight_source.hpp"
#include "kvant/numeric/formats.hpp"

namespace kvant::io {

/// The text of config.json: the source's byte for byte, but for its quantization_config and, where `dtype` is given,
/// the types of floats that it names. Nothing where the source has none and needs none.
[[nodiscard]] Result<std::optional<std::string>> output_config(const SourceInfo& source,
                                                               const std::optional<Json>& quantization,
                                                               std::optional<FormatId> dtype);

/// The metadata of weight files; in that of a single file stands the quantization_config.
[[nodiscard]] Metadata output_metadata(const SourceInfo& source, const std::optional<Json>& quantization);

}  // namespace kvant::io
