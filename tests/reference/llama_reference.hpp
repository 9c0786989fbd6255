// SPDX-License-Identifier: Apache-2.0
// A Llama decoder in double precision, from the paper's formulas: no cache, every position attends by itself, rotary
// positions as complex numbers. Independent of everything under test.
#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace reference {

using Vector = std::vector<double>;

struct Llama {
  std::size_t hidden = 0, ffn = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, vocabulary = 0;
  double epsilon = 1e-5;
  double theta = 10000;
  std::map<std::string, Vector> tensors;  ///< by checkpoint name, row-major

  /// W x + b of the stored matrix `name`.weight, with `name`.bias where it exists.
  [[nodiscard]] Vector linear(const std::string& name, const Vector& x) const {
    const Vector& w = tensors.at(name + ".weight");
    Vector y(w.size() / x.size());
    for (std::size_t o = 0; o < y.size(); ++o)
      for (std::size_t i = 0; i < x.size(); ++i) y[o] += w[o * x.size() + i] * x[i];
    if (const auto bias = tensors.find(name + ".bias"); bias != tensors.end())
      for (std::size_t o = 0; o < y.size(); ++o) y[o] += bias->second[o];
    return y;
  }

  [[nodiscard]] Vector norm(const std::string& name, const Vector& x) const {
    double squares = 0;
    for (const double v : x) squares += v * v;
    Vector y = tensors.at(name + ".weight");
    for (std::size_t i = 0; i < x.size(); ++i)
      y[i] *= x[i] / std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
    return y;
  }

  /// Turns the pairs (i, i + head_dim / 2) of every head by position * theta^(-2 i / head_dim).
  [[nodiscard]] Vector rotate(Vector x, std::size_t position) const {
    for (std::size_t head = 0; head < x.size(); head += head_dim)
      for (std::size_t i = 0; i < head_dim / 2; ++i) {
        const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(head_dim);
        double& re = x[head + i];
        double& im = x[head + i + head_dim / 2];
        const auto turned =
            std::complex(re, im) * std::polar(1.0, static_cast<double>(position) * std::pow(theta, exponent));
        re = turned.real();
        im = turned.imag();
      }
    return x;
  }

  /// The attention of the last of `q`, `k`, `v`.
  [[nodiscard]] Vector attend(const std::vector<Vector>& q, const std::vector<Vector>& k, const std::vector<Vector>& v,
                              std::size_t position) const {
    Vector out(heads * head_dim);
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t from = h / (heads / kv_heads) * head_dim;
      Vector weights(position + 1);
      double sum = 0;
      for (std::size_t t = 0; t <= position; ++t) {
        double dot = 0;
        for (std::size_t i = 0; i < head_dim; ++i) dot += q[position][h * head_dim + i] * k[t][from + i];
        sum += weights[t] = std::exp(dot / std::sqrt(static_cast<double>(head_dim)));
      }
      for (std::size_t t = 0; t <= position; ++t)
        for (std::size_t i = 0; i < head_dim; ++i) out[h * head_dim + i] += weights[t] / sum * v[t][from + i];
    }
    return out;
  }

  /// The logits of every position.
  [[nodiscard]] std::vector<Vector> logits(std::span<const std::int32_t> ids) const {
    const Vector& embedding = tensors.at("model.embed_tokens.weight");
    std::vector<Vector> x;
    for (const std::int32_t id : ids) {
      const auto row = embedding.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(id) * hidden);
      x.emplace_back(row, row + static_cast<std::ptrdiff_t>(hidden));
    }
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const std::string block = "model.layers." + std::to_string(layer) + ".";
      std::vector<Vector> q, k, v;
      for (std::size_t t = 0; t < x.size(); ++t) {
        const Vector normed = norm(block + "input_layernorm", x[t]);
        q.push_back(rotate(linear(block + "self_attn.q_proj", normed), t));
        k.push_back(rotate(linear(block + "self_attn.k_proj", normed), t));
        v.push_back(linear(block + "self_attn.v_proj", normed));
      }
      for (std::size_t t = 0; t < x.size(); ++t) {
        add(x[t], linear(block + "self_attn.o_proj", attend(q, k, v, t)));
        add(x[t], feed_forward(block, norm(block + "post_attention_layernorm", x[t])));
      }
    }
    const std::string head = tensors.contains("lm_head.weight") ? "lm_head" : "model.embed_tokens";
    for (Vector& row : x) row = linear(head, norm("model.norm", row));
    return x;
  }

 private:
  [[nodiscard]] Vector feed_forward(const std::string& block, const Vector& x) const {
    Vector gate = linear(block + "mlp.gate_proj", x);
    const Vector up = linear(block + "mlp.up_proj", x);
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
    return linear(block + "mlp.down_proj", gate);
  }

  static void add(Vector& x, const Vector& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }
};

/// -log softmax(logits)[target].
template <class T>
double negative_log_likelihood(std::span<const T> logits, std::int32_t target) {
  double max = -INFINITY;
  for (const T v : logits) max = std::max(max, static_cast<double>(v));
  double sum = 0;
  for (const T v : logits) sum += std::exp(static_cast<double>(v) - max);
  return std::log(sum) + max - static_cast<double>(logits[static_cast<std::size_t>(target)]);
}

}  // namespace reference
