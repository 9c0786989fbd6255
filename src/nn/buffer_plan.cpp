// SPDX-License-Identifier: Apache-2.0
#include "buffer_plan.hpp"

#include <algorithm>
#include <numeric>
#include <variant>

namespace kvant::nn {
namespace {

struct Accesses {
  const ModelConfig& config;
  StepAccess operator()(const Embed& s) const { return {{}, {whole(s.out)}}; }
  StepAccess operator()(const Norm& s) const { return {{s.in}, {s.out}}; }
  StepAccess operator()(const Multiply& s) const {
    return {s.accumulate ? std::vector{s.in, s.out} : std::vector{s.in}, {s.out}};
  }
  StepAccess operator()(const Rotate& s) const { return {{s.heads}, {s.heads}}; }
  StepAccess operator()(const Attend& s) const { return {{s.q, s.k, s.v}, {s.out}}; }
  StepAccess operator()(const StoreSource& s) const { return {{s.k, s.v}, {}}; }
  StepAccess operator()(const AttendSource& s) const { return {{s.q}, {s.out}}; }
  StepAccess operator()(const Activate& s) const { return {{s.x}, {s.x}}; }
  StepAccess operator()(const Gate& s) const { return {{s.x, s.by}, {s.x}}; }
  StepAccess operator()(const Add& s) const { return {{s.x, s.by}, {s.x}}; }
  StepAccess operator()(const Copy& s) const { return {{s.in}, {s.out}}; }
  StepAccess operator()(const Scale& s) const { return {{s.x}, {s.x}}; }
  StepAccess operator()(const Softcap& s) const { return {{s.x}, {s.x}}; }
  StepAccess operator()(const Clamp& s) const { return {{s.x}, {s.x}}; }
  StepAccess operator()(const Experts& s) const { return {{whole(s.in), whole(s.scores)}, {whole(s.out)}}; }
  [[nodiscard]] Slice whole(BufferId b) const {
    const std::size_t width = config.buffers[b].width;
    return {b, 0, 1, width, width};
  }
};

struct Life {
  std::size_t first = 0, last = 0;
  bool is_used = false;
};

/// Mentions of one list, experts' steps in their place.
class Lives {
 public:
  Lives(const ModelConfig& config, std::vector<bool>& always) : always_(always), lives_(config.buffers.size()) {}

  void add(const ModelConfig& config, const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      ++now_;
      const StepAccess access = access_of(step, config);
      for (const Slice& s : access.reads) mention(s.buffer, true);
      for (const Slice& s : access.writes) mention(s.buffer, false);
      const auto* experts = std::get_if<Experts>(&step);
      if (experts == nullptr) continue;
      mention(experts->expert_in, false);
      add(config, config.expert_steps[experts->steps]);
      ++now_;
      for (const BufferId b : {experts->in, experts->out, experts->expert_in, experts->expert_out}) mention(b, true);
    }
  }

  [[nodiscard]] bool overlap(std::size_t a, std::size_t b) const {
    const Life& x = lives_[a];
    const Life& y = lives_[b];
    return x.is_used && y.is_used && x.first <= y.last && y.first <= x.last;
  }

 private:
  void mention(BufferId buffer, bool reads) {
    Life& life = lives_[buffer];
    if (!life.is_used && reads) always_[buffer] = true;
    if (!life.is_used) life = {now_, now_, true};
    life.last = now_;
  }

  std::vector<bool>& always_;
  std::vector<Life> lives_;
  std::size_t now_ = 0;
};

}  // namespace

StepAccess access_of(const Step& step, const ModelConfig& config) { return std::visit(Accesses{config}, step); }

std::vector<const std::vector<Step>*> lists_of(const ModelConfig& config) {
  std::vector<const std::vector<Step>*> lists;
  for (const Block& block : config.encoder) lists.push_back(&block.steps);
  lists.push_back(&config.stem);
  for (const Block& block : config.blocks) lists.push_back(&block.steps);
  lists.insert(lists.end(), {&config.tail, &config.head, &config.pooler});
  return lists;
}

BufferPlan plan_buffers(const ModelConfig& config) {
  const std::size_t count = config.buffers.size();
  std::vector<bool> always(count);
  always[config.carried] = always[config.states] = true;
  std::vector<Lives> lists;
  for (const std::vector<Step>* steps : lists_of(config)) {
    lists.emplace_back(config, always);
    lists.back().add(config, *steps);
  }
  const auto conflict = [&](std::size_t a, std::size_t b) {
    return always[a] || always[b] || std::ranges::any_of(lists, [&](const Lives& l) { return l.overlap(a, b); });
  };
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return config.buffers[a].width > config.buffers[b].width; });
  BufferPlan plan;
  plan.slot_of.resize(count);
  std::vector<std::vector<std::size_t>> members;
  for (const std::size_t b : order) {
    if (b == config.logits) continue;  // the caller's
    std::size_t slot = 0;
    while (slot < members.size() && std::ranges::any_of(members[slot], [&](std::size_t m) { return conflict(b, m); }))
      ++slot;
    if (slot == members.size()) {
      members.emplace_back();
      plan.widths.push_back(config.buffers[b].width);
    }
    members[slot].push_back(b);
    plan.slot_of[b] = slot;
  }
  return plan;
}

}  // namespace kvant::nn
