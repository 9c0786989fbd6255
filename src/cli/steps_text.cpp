// SPDX-License-Identifier: Apache-2.0
#include "steps_text.hpp"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <variant>

namespace kvant::cli {
namespace {

using namespace nn;  // NOLINT: the kinds of steps

class Writer {
 public:
  Writer(const ModelConfig& config, std::string_view prefix) : config_(config), prefix_(prefix) {}

  std::string operator()(const Embed& s) const {
    return fmt::format("{} = {}rows({}; {}{})", name(s.out), factor(s.scale), tensor(s.table),
                       s.key == Embed::Key::token  ? "tokens"
                       : s.key == Embed::Key::type ? "types"
                                                   : "positions",
                       s.offset != 0 ? fmt::format(" + {}", s.offset) : "");
  }
  std::string operator()(const Norm& s) const {
    std::string how = s.weight == kNoTensor ? "" : (s.plus_one ? "1 + " : "") + tensor(s.weight) + ", ";
    if (s.bias != kNoTensor) how += "with bias, ";
    return fmt::format("{} = {}_norm({}; {}epsilon {:.6g})", slice(s.out), s.kind == Norm::Kind::rms ? "rms" : "layer",
                       slice(s.in), how, s.epsilon);
  }
  std::string operator()(const Multiply& s) const {
    const TensorUse& use = config_.tensors[s.weight];
    return fmt::format("{} {} {}{} * {}^T{}{}", slice(s.out), s.accumulate ? "+=" : "=", factor(s.scale), slice(s.in),
                       tensor(s.weight), use.bias != kNoTensor ? " + bias" : "",
                       use.transposed ? "   (stored [in, out])" : "");
  }
  std::string operator()(const Rotate& s) const {
    const Rope& rope = config_.ropes[s.rope];
    return fmt::format("rotate({}; theta {:.6g}{}{})", slice(s.heads), rope.theta,
                       rope.scaling == RopeScaling::none
                           ? ""
                           : ", " + std::string(kRopeScalingNames[static_cast<std::size_t>(rope.scaling)]),
                       s.interleaved ? ", pairs interleaved" : "");
  }
  std::string operator()(const Attend& s) const {
    std::string how = fmt::format("scale {:.6g}", s.scale);
    if (s.both_ways) how += ", both ways";
    if (s.window != 0) how += fmt::format(", window {}", s.window);
    if (s.softcap != 0) how += fmt::format(", cap {:.6g}", s.softcap);
    if (!s.slopes.empty()) how += ", ALiBi";
    if (s.sinks != kNoTensor) how += ", sinks " + tensor(s.sinks);
    if (s.distances.table != kNoTensor)
      how += fmt::format(", distances up to {} by {}", s.distances.farthest, tensor(s.distances.table));
    return fmt::format("{} = attend({}, {}, {}; {})", slice(s.out), slice(s.q), slice(s.k), slice(s.v), how);
  }
  std::string operator()(const StoreSource& s) const {
    return fmt::format("source {} = {}, {}", s.cache, slice(s.k), slice(s.v));
  }
  std::string operator()(const AttendSource& s) const {
    return fmt::format("{} = attend({}, source {}; scale {:.6g})", slice(s.out), slice(s.q), s.cache, s.scale);
  }
  std::string operator()(const Activate& s) const {
    return fmt::format("{0} = {1}({0})", slice(s.x), kActivationNames[static_cast<std::size_t>(s.function)]);
  }
  std::string operator()(const Gate& s) const { return slice(s.x) + " *= " + slice(s.by); }
  std::string operator()(const Add& s) const { return slice(s.x) + " += " + factor(s.scale) + slice(s.by); }
  std::string operator()(const Copy& s) const { return slice(s.out) + " = " + slice(s.in); }
  std::string operator()(const Scale& s) const {
    return fmt::format("{0} = {1:.6g} * {0}{2}", slice(s.x), s.factor,
                       s.offset != 0 ? fmt::format(" + {:.6g}", s.offset) : "");
  }
  std::string operator()(const Softcap& s) const {
    return fmt::format("{0} = {1:.6g} * tanh({0} / {1:.6g})", slice(s.x), s.c);
  }
  std::string operator()(const Clamp& s) const {
    return fmt::format("{0} = clamp({0}, {1:.6g}, {2:.6g})", slice(s.x), s.low, s.high);
  }
  std::string operator()(const Experts& s) const {
    const Routing& r = s.routing;
    std::string how = fmt::format("{} of {}", r.chosen, s.experts);
    if (r.groups > 1) how += fmt::format(" in {} of {} groups", r.chosen_groups, r.groups);
    how += r.scores == Routing::Scores::sigmoid ? ", sigmoid"
           : r.softmax_of_chosen                ? ", softmax of the chosen"
                                                : ", softmax";
    if (r.correction != kNoTensor) how += ", corrected by " + tensor(r.correction);
    if (r.normalized) how += ", normalized";
    if (r.scale != 1) how += fmt::format(", times {:.6g}", r.scale);
    std::string text = fmt::format("{} = experts({}, {}; {})", name(s.out), name(s.in), name(s.scores), how);
    for (const Step& step : config_.expert_steps[s.steps]) text += "\n  " + std::visit(*this, step);
    return text;
  }

 private:
  [[nodiscard]] const std::string& name(BufferId b) const { return config_.buffers[b].name; }
  [[nodiscard]] std::string slice(const Slice& s) const {
    if (s.count > 1) return fmt::format("{}[{} x {}{}]", name(s.buffer), s.count, s.width, start(s));
    if (s.first == 0 && s.width == config_.buffers[s.buffer].width) return name(s.buffer);
    return fmt::format("{}[{}:{}]", name(s.buffer), s.first, s.first + s.width);
  }
  static std::string start(const Slice& s) { return s.first != 0 ? fmt::format(" from {}", s.first) : ""; }
  [[nodiscard]] std::string tensor(TensorId id) const {
    const std::string_view full = config_.tensors[id].name;
    return std::string(full.starts_with(prefix_) ? full.substr(prefix_.size()) : full);
  }
  static std::string factor(float f) { return f != 1 ? fmt::format("{:.6g} * ", f) : ""; }

  const ModelConfig& config_;
  std::string_view prefix_;
};

}  // namespace

std::string to_text(const Step& step, const ModelConfig& config, std::string_view prefix) {
  return std::visit(Writer(config, prefix), step);
}

}  // namespace kvant::cli
