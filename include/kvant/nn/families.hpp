// SPDX-License-Identifier: Apache-2.0
// The families of models. Adding one is adding a row to one of src/nn/families/*.cpp: what it is called, and a function
// that reads its config.json and writes its steps.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/nn/steps.hpp"

namespace kvant::nn {

class ConfigReader;
class StepBuilder;

struct Family {
  std::string_view model_type;  ///< "model_type" of config.json
  std::string_view classes;     ///< those of "architectures" that are computed, separated by ", "
  std::string_view variants;    ///< what its configurations may ask for, in words
  std::string_view base{};      ///< what names of tensors begin with, except in checkpoints of the bare model
  std::string_view head{};      ///< the head's tensor, where it is stored
  void (*write)(ConfigReader&, StepBuilder&) = nullptr;
};

/// All rows, by kind.
[[nodiscard]] std::span<const Family* const> families();

/// The family that a config.json names by its "model_type"; null where it is none of the list.
[[nodiscard]] const Family* find_family(const io::Json& config) noexcept;

/// Matrices that engines join into one, because they read the same input: q, k and v, gate and up. What such a tensor
/// shares with the others of its layer is the same text for all of them; empty for every other tensor.
[[nodiscard]] std::string joined_with(std::string_view tensor);

/// Reads a config.json. Whatever in it would change results in a way that forward() does not compute is an error.
/// Errors: bad_config (a key is missing, of the wrong type or impossible), unsupported (valid, but another family,
/// activation, position scheme or attention). Heads and poolers that a checkpoint may lack are left out where `weights`
/// lack them.
[[nodiscard]] Result<ModelConfig> read_model_config(const io::Json& config, const Where& where = {},
                                                    const io::Weights* weights = nullptr);

}  // namespace kvant::nn
