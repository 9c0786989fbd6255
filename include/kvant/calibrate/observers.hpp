// SPDX-License-Identifier: Apache-2.0
// The list of observers, and one chosen by name. Adding one is a header with its Config and body, and its name here.
//
//   auto observer = kvant::make_observer("percentile");
//   for (std::span<const float> batch : batches) observer->observe(batch);
//   kvant::Range range = observer->range(kvant::format_info(scheme.format), scheme.symmetry);
//   kvant::GroupParameters p = kvant::parameters_for_range(kvant::Grid(scheme), range);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "kvant/calibrate/entropy.hpp"
#include "kvant/calibrate/min_max.hpp"
#include "kvant/calibrate/moving_average.hpp"
#include "kvant/calibrate/mse.hpp"
#include "kvant/calibrate/observer.hpp"
#include "kvant/calibrate/percentile.hpp"
#include "kvant/core/by_name.hpp"

namespace kvant {

template <Observer... O>
struct ObserverList {
  static constexpr std::size_t kSize = sizeof...(O);
};

using AllObservers = ObserverList<MinMax, MovingAverage, Percentile, Mse, Entropy>;

struct ObserverInfo {
  std::string_view name;
  std::string_view summary;
};

namespace detail {

template <Observer... O>
constexpr std::array<ObserverInfo, sizeof...(O)> make_observer_table(ObserverList<O...>) noexcept {
  return {ObserverInfo{O::kName, O::kSummary}...};
}

template <class List>
struct ObserverVariant;
template <Observer... O>
struct ObserverVariant<ObserverList<O...>> {
  using type = std::variant<O...>;
};

}  // namespace detail

inline constexpr auto kObservers = detail::make_observer_table(AllObservers{});

/// Any observer of the list, by value.
class AnyObserver {
 public:
  template <Observer O>
  explicit AnyObserver(O observer) : observer_(std::move(observer)) {}

  [[nodiscard]] std::string_view name() const {
    return std::visit([]<class O>(const O&) { return O::kName; }, observer_);
  }
  void observe(std::span<const float> values) {
    std::visit([&](auto& o) { o.observe(values); }, observer_);
  }
  /// Fails where the other is another observer or has another Config.
  [[nodiscard]] Status merge(const AnyObserver& other) {
    return std::visit(
        [&]<class O>(O& o) -> Status {
          const O* same = std::get_if<O>(&other.observer_);
          if (same == nullptr)
            return fail(ErrorCode::usage, "observers '" + std::string(O::kName) + "' and '" +
                                              std::string(other.name()) + "' cannot be merged");
          return o.merge(*same);
        },
        observer_);
  }
  [[nodiscard]] Range range(const FormatInfo& format, Symmetry symmetry) const {
    return std::visit([&](const auto& o) { return o.range(format, symmetry); }, observer_);
  }
  [[nodiscard]] std::uint64_t count() const {
    return std::visit([](const auto& o) { return o.count(); }, observer_);
  }
  [[nodiscard]] std::uint64_t nonfinite() const {
    return std::visit([](const auto& o) { return o.nonfinite(); }, observer_);
  }
  [[nodiscard]] std::size_t bytes() const {
    return std::visit([](const auto& o) { return o.bytes(); }, observer_);
  }

 private:
  detail::ObserverVariant<AllObservers>::type observer_;
};

namespace detail {

template <class Configure, Observer... O>
Result<AnyObserver> make_observer(std::string_view name, Configure& configure, ObserverList<O...>) {
  return make_by_name<AnyObserver, O...>("observer", name, [&](auto& config) -> Status {
    std::remove_reference_t<decltype(config)>::visit(config, configure);
    return {};
  });
}

}  // namespace detail

/// The observer of that name; `configure(field name, field, help)` may set its fields. Errors: `usage` for a name that
/// is not in the list and for fields out of their ranges.
template <class Configure>
[[nodiscard]] Result<AnyObserver> make_observer(std::string_view name, Configure&& configure) {
  return detail::make_observer(name, configure, AllObservers{});
}
[[nodiscard]] inline Result<AnyObserver> make_observer(std::string_view name) {
  return make_observer(name, [](std::string_view, auto&, std::string_view) {});
}

/// The range that the observer of that name, with its default Config, gives for `values`.
[[nodiscard]] inline Result<Range> observe_range(std::string_view name, std::span<const float> values,
                                                 const FormatInfo& format, Symmetry symmetry = Symmetry::symmetric) {
  auto observer = make_observer(name);
  if (!observer) return propagate(observer);
  observer->observe(values);
  return observer->range(format, symmetry);
}

}  // namespace kvant
