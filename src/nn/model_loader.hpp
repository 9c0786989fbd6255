// SPDX-License-Identifier: Apache-2.0
// From a checkpoint to a model: finds and checks all tensors by name and shape first, then reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/nn/model.hpp"

namespace kvant::nn {

class ModelLoader {
 public:
  explicit ModelLoader(const io::Weights& weights) : weights_(weights), file_(weights.path_text()) {}

  Result<Model> load(const Context& context);

 private:
  [[nodiscard]] Where where(std::string tensor = {}) const { return {file_, std::move(tensor), {}}; }

  Status read_config();
  Status find_tensors();
  Status find_tensor(TensorId id);
  Status check_shape(const TensorUse& use, const io::WeightInfo& weight) const;
  Status refuse_unknown_tensors() const;
  Status read(const Context& context);
  Status read_matrix(TensorId id, const Context& context);
  Status read_bias(TensorId id, std::vector<float>& out) const;
  Status set_codes(TensorId id, QMatrix codes, const Context& context);
  Status read_vector(TensorId id, std::vector<float>& out) const;
  /// What steps read instead of the stored values, where the two differ: norms' factors, biases by distance.
  void prepare();
  void add_ones(const Norm& norm);
  void spread(const Attend& attend);
  void list_layer(const TensorUse& use, const io::WeightInfo& weight);
  /// The name under which the checkpoint has it: that of a bare model lacks the family's first part.
  [[nodiscard]] std::string stored_name(const std::string& name) const;
  /// Null where it is not in the checkpoint. Norms are also found under their oldest names, "gamma" and "beta".
  [[nodiscard]] const io::WeightInfo* find(const TensorUse& use) const;

  const io::Weights& weights_;
  const std::string file_;
  Model model_;
  bool is_bare_ = false;
  std::vector<const io::WeightInfo*> found_;  ///< by TensorId
  std::vector<bool> is_part_;                 ///< a bias that its matrix reads
  std::unordered_set<std::string> known_;
  std::unordered_set<TensorId> spread_;  ///< tables
};

}  // namespace kvant::nn
