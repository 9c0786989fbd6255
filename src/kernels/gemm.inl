// SPDX-License-Identifier: Apache-2.0
// Matrix products for any vector width: the loops that every x86 tier shares. Included inside an unnamed namespace of
// an ISA file, after its vectors (Floats, Words, kLanes, load, fma, …), its decoders of small codes (W4, W2, W1), its
// integer products (DotW8, DotW4, DotW2, DotW1) and the shapes of its tiles (FloatTiles, Int8Tiles).
//
// In every weight layout a column is one 32-bit word per step, and a step is a row of words: W::kInputs inputs of
// W::kColumns columns. So one tile serves all of them: MR rows of activations by P blocks of NV vectors of columns.
// Its accumulators stay in registers for a whole group; the sums over groups are touched once a group and may spill.

// ---- weights as floats: value(v, i) is input i of the step whose words are v -------------------------------------

struct F32 {
  static constexpr std::size_t kInputs = 1, kColumns = 32;
  explicit F32(const GemmArgs&) noexcept {}
  Floats value(Words v, std::size_t) const noexcept { return from_bits(v); }
};

struct Bf16 {
  static constexpr std::size_t kInputs = 2, kColumns = 32;
  explicit Bf16(const GemmArgs&) noexcept {}
  Floats value(Words v, std::size_t i) const noexcept {
    return from_bits(i == 0 ? shift_left(v, 16) : and_words(v, splat_word(-0x10000)));
  }
};

struct W8 {
  static constexpr std::size_t kInputs = 4, kColumns = 64;
  Words zero_code;
  explicit W8(const GemmArgs& g) noexcept : zero_code(splat_word(g.shape->zero)) {}
  Floats value(Words v, std::size_t i) const noexcept {
    const Words code = i == 3 ? shift_right(v, 24) : and_words(shift_right(v, 8 * i), splat_word(0xff));
    return to_floats(subtract(code, zero_code));
  }
};

/// Minifloats whose codes are all numbers: their fields are shifted to where a float has its own, and the exponents'
/// bases differ by a factor. Subnormal numbers come out right, since a float has such numbers too.
template <std::size_t kMantissa>
struct W8Minifloat {
  static constexpr std::size_t kInputs = 4, kColumns = 64;
  Floats unit;
  explicit W8Minifloat(const GemmArgs& g) noexcept : unit(splat(g.shape->level_unit)) {}
  Floats value(Words v, std::size_t i) const noexcept {
    constexpr std::int32_t kFields = INT32_MIN | 0x7f << (23 - kMantissa);
    const Words code = i == 3 ? v : shift_left(v, 24 - 8 * i);
    return multiply(from_bits(and_words(shift_right_signed<1 + kMantissa>(code), splat_word(kFields))), unit);
  }
};

/// Any codes of 8 bits.
struct W8Table {
  static constexpr std::size_t kInputs = 4, kColumns = 64;
  const float* levels;
  explicit W8Table(const GemmArgs& g) noexcept : levels(g.shape->levels) {}
  Floats value(Words v, std::size_t i) const noexcept {
    return look_up(levels, 256, i == 3 ? shift_right(v, 24) : and_words(shift_right(v, 8 * i), splat_word(0xff)));
  }
};

// ---- where the weights are ------------------------------------------------------------------------------------------

/// Where a tile of outputs begins, and how many bytes ahead of what is read memory should be fetched: even lines of 64
/// bytes, odd ones.
struct Place {
  std::size_t column, row;
  std::size_t ahead[2];
  const struct Lowest* lowest;  ///< one for each row of the tile, or null
};

/// Where a row of activations is -128, of which some integer products need to know. One place is usual: that of the
/// largest magnitude.
struct Lowest {
  std::size_t at;
  std::size_t count;

  Lowest() = default;
  Lowest(const std::int8_t* a, std::size_t k) noexcept : at(0), count(0) {
    constexpr std::size_t kAtOnce = 256;  // without a branch for each, which compilers turn into vectors
    for (std::size_t first = 0; first < k; first += kAtOnce) {
      const std::size_t end = k - first < kAtOnce ? k : first + kAtOnce;
      unsigned char any = 0;
      for (std::size_t i = first; i < end; ++i) any = static_cast<unsigned char>(any | (a[i] == -128 ? 1 : 0));
      for (std::size_t i = first; any != 0 && i < end; ++i) {
        if (a[i] != -128) continue;
        at = i;
        ++count;
      }
    }
  }
  /// Calls body(i) for each of them in [begin, end).
  template <class Body>
  void for_each(const std::int8_t* a, std::size_t begin, std::size_t end, Body body) const noexcept {
    if (count == 1) {
      if (at >= begin && at < end) body(at);
    } else if (count != 0) {
      for (std::size_t i = begin; i < end; ++i)
        if (a[i] == -128) body(i);
    }
  }
};
template <class W>
inline constexpr bool kMissesLowest = requires {
  W::kMissesLowest;
};

/// The columns beside each other that one tile computes, and where their weights are.
template <class W, std::size_t P, std::size_t NV>
struct Stream {
  static constexpr std::size_t kWidth = NV * kLanes;
  const unsigned char* codes[P];  ///< of the first column of each block
  std::size_t offset[P];          ///< that column's place in its panel
  std::size_t ahead[2];

  Stream(const GemmArgs& g, const Place& at) noexcept : ahead{at.ahead[0], at.ahead[1]} {
    for (std::size_t j = 0; j < P; ++j) {
      const std::size_t first = at.column + j * kWidth;
      offset[j] = first % W::kColumns;
      codes[j] = g.weights + first / W::kColumns * g.shape->panel_stride + 4 * offset[j];
    }
  }
  [[gnu::always_inline]] void load_step(Words (&v)[P * NV]) const noexcept {
#pragma GCC unroll 8
    for (std::size_t j = 0; j < P; ++j) {
#pragma GCC unroll 8
      for (std::size_t c = 0; c < NV; ++c) v[j * NV + c] = load_words(codes[j] + 4 * kLanes * c);
      // Two lines, even where a block is half of them: the other half comes soon.
      prefetch(codes[j] + ahead[0]);
      prefetch(codes[j] + ahead[1] + 64);
    }
  }
  [[gnu::always_inline]] void next_step() noexcept {
#pragma GCC unroll 8
    for (std::size_t j = 0; j < P; ++j) codes[j] += 4 * W::kColumns;
  }
  /// From the end of a group's codes over its record to the next group.
  [[gnu::always_inline]] void next_group(const GemmArgs& g) noexcept {
    for (std::size_t j = 0; j < P; ++j)
      codes[j] +=
          W::kColumns * (g.shape->scales_f32 ? 4 : 2) * (g.shape->has_offsets ? 2 : 1) + (g.shape->has_zeros ? 64 : 0);
  }
  [[gnu::always_inline]] void load_scales(const GemmArgs& g, Floats (&scale)[P * NV]) const noexcept {
    if (g.shape->scales_f32) {
#pragma GCC unroll 8
      for (std::size_t v = 0; v < P * NV; ++v) scale[v] = load_f32(codes[v / NV] + 4 * kLanes * (v % NV));
    } else {
#pragma GCC unroll 8
      for (std::size_t v = 0; v < P * NV; ++v)
        scale[v] = load_f16(codes[v / NV] - 2 * offset[v / NV] + 2 * kLanes * (v % NV));
    }
  }
  [[gnu::always_inline]] Floats offsets(const GemmArgs& g, std::size_t v) const noexcept {
    const unsigned char* record = codes[v / NV] - 4 * offset[v / NV];
    const std::size_t place = W::kColumns + offset[v / NV] + v % NV * kLanes;
    return g.shape->scales_f32 ? load_f32(record + 4 * place) : load_f16(record + 2 * place);
  }
  [[gnu::always_inline]] Words zeros(const GemmArgs& g, std::size_t v) const noexcept {
    const unsigned char* record = codes[v / NV] - 4 * offset[v / NV];
    return load_u8(record + W::kColumns * (g.shape->scales_f32 ? 4 : 2) + offset[v / NV] + v % NV * kLanes);
  }
};

[[gnu::always_inline]] inline std::size_t ceil_div(std::size_t a, std::size_t b) noexcept { return (a + b - 1) / b; }

/// Some outputs beside each other, `count` of a vector at most, as y's type and over what it holds.
inline void store_outputs(const GemmArgs& g, std::size_t at, Floats y, std::size_t count) noexcept {
  if (g.y_type == OutputType::f32) {
    const Lanes which = lanes(0, count);
    if (g.accumulate) y = add(load(g.y + at, which), y);
    store(g.y + at, y, which);
    return;
  }
  const bool is_fp16 = g.y_type == OutputType::fp16;
  if (count > kLanes) count = kLanes;
  if (g.accumulate) {
    const Words held = load_halfs(g.y16 + at, count);
    y = add(made_quiet(is_fp16 ? half_value(held) : from_bits(shift_left(held, 16))), y);
  }
  const Words code = is_fp16 ? quiet_nan_or(y, half_code(y), kNanFp16) : quiet_nan_or(y, bfloat16_code(y), kNanBf16);
  store_halfs(g.y16 + at, code, count);
}

/// y of a finished tile of `rows` x `vectors`: the sums, times the scale of their row if rows have one, plus bias, and
/// what else is to become of them.
[[gnu::noinline]] void store_tile(const GemmArgs& g, const Place& at, const Floats* sum, std::size_t rows,
                                  std::size_t vectors, const float* row_scales) noexcept {
  for (std::size_t c = 0; c < vectors; ++c) {
    const std::size_t column = at.column + c * kLanes;
    if (column >= g.shape->n) return;
    const Floats bias = g.bias != nullptr ? load(g.bias + column, lanes(0, g.shape->n - column)) : zero();
    for (std::size_t r = 0; r < rows; ++r) {
      const Floats x = sum[r * vectors + c];
      const Floats y = row_scales != nullptr ? fma(x, splat(row_scales[at.row + r]), bias) : add(x, bias);
      store_outputs(g, (at.row + r) * g.ldy + column, multiply(y, splat(g.scale)), g.shape->n - column);
    }
  }
}

template <std::size_t MR, std::size_t N>
[[gnu::always_inline]] inline void store_sums(const GemmArgs& g, const Place& at, const Floats (&sum)[MR][N],
                                              const float* row_scales) noexcept {
  Floats copy[MR * N];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (std::size_t c = 0; c < N; ++c) copy[r * N + c] = sum[r][c];
  store_tile(g, at, copy, MR, N, row_scales);
}

// ---- float activations ---------------------------------------------------------------------------------------------

/// part[r][c] += the first `Inputs` inputs of one step, in their order.
template <std::size_t Inputs, class W, std::size_t MR, std::size_t N>
[[gnu::always_inline]] inline void multiply(const W& decode, const Words (&v)[N], const float* a, std::size_t lda,
                                            Floats (&part)[MR][N]) noexcept {
#pragma GCC unroll 32
  for (std::size_t i = 0; i < Inputs; ++i) {
    Floats w[N];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < N; ++c) w[c] = decode.value(v[c], i);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < MR; ++r) {
      const Floats x = splat(a[r * lda + i]);
#pragma GCC unroll 8
      for (std::size_t c = 0; c < N; ++c) part[r][c] = fma(w[c], x, part[r][c]);
    }
  }
}

template <std::size_t MR, std::size_t N>
[[gnu::always_inline]] inline void clear(Floats (&x)[MR][N]) noexcept {
#pragma GCC unroll 16
  for (std::size_t r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (std::size_t c = 0; c < N; ++c) x[r][c] = zero();
}

/// Layouts without groups: one chain from the first input to the last.
template <class W, std::size_t MR, std::size_t P, std::size_t NV>
[[gnu::noinline]] void tile_float(const GemmArgs& g, const Place& at) noexcept {
  Stream<W, P, NV> stream(g, at);
  const float* a = g.a_f32 + at.row * g.lda;
  const std::size_t lda = g.lda;
  const W decode(g);
  Floats sum[MR][P * NV];
  clear(sum);
  Words v[P * NV];
  for (std::size_t s = 0; s < g.shape->k / W::kInputs; ++s) {
    stream.load_step(v);
    multiply<W::kInputs>(decode, v, a, lda, sum);
    stream.next_step();
    a += W::kInputs;
  }
  if (W::kInputs > 1 && g.shape->k % W::kInputs != 0) {
    stream.load_step(v);
    multiply<1>(decode, v, a, lda, sum);
  }
  store_sums(g, at, sum, nullptr);
}

/// A row of sums less the offsets of a group times the sum of the row's activations in it.
template <class W, std::size_t P, std::size_t NV>
[[gnu::always_inline]] inline void subtract_offsets(const Stream<W, P, NV>& stream, const GemmArgs& g, Floats sum_of_a,
                                                    Floats (&sum)[P * NV]) noexcept {
#pragma GCC unroll 8
  for (std::size_t c = 0; c < P * NV; ++c) sum[c] = minus_fma(stream.offsets(g, c), sum_of_a, sum[c]);
}

/// Layouts with groups: a chain per group, then a chain over groups.
template <class W, std::size_t MR, std::size_t P, std::size_t NV>
[[gnu::noinline]] void tile_grouped(const GemmArgs& g, const Place& at) noexcept {
  Stream<W, P, NV> stream(g, at);
  const float* a = g.a_f32 + at.row * g.lda;
  const std::size_t lda = g.lda;
  const std::size_t groups = g.shape->k != 0 ? ceil_div(g.shape->k, g.shape->group) : 0;
  const W decode(g);
  Floats sum[MR][P * NV];
  clear(sum);
  for (std::size_t index = 0; index < groups; ++index) {
    const std::size_t left = g.shape->k - index * g.shape->group;
    Floats part[MR][P * NV];
    clear(part);
    for (std::size_t s = ceil_div(left < g.shape->group ? left : g.shape->group, W::kInputs); s != 0; --s) {
      Words v[P * NV];
      stream.load_step(v);
      multiply<W::kInputs>(decode, v, a, lda, part);
      stream.next_step();
      a += W::kInputs;
    }
    if (g.shape->has_zeros) {
#pragma GCC unroll 8
      for (std::size_t c = 0; c < P * NV; ++c) {
        const Floats zero = to_floats(subtract(stream.zeros(g, c), splat_word(g.shape->zero)));
#pragma GCC unroll 16
        for (std::size_t r = 0; r < MR; ++r)
          part[r][c] = fma(zero, splat(-g.a_sums_f32[(at.row + r) * groups + index]), part[r][c]);
      }
    }
    Floats scale[P * NV];
    stream.load_scales(g, scale);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < MR; ++r)
#pragma GCC unroll 8
      for (std::size_t c = 0; c < P * NV; ++c) sum[r][c] = fma(part[r][c], scale[c], sum[r][c]);
    if (g.shape->has_offsets)
      for (std::size_t r = 0; r < MR; ++r)
        subtract_offsets(stream, g, splat(g.a_sums_f32[(at.row + r) * groups + index]), sum[r]);
    stream.next_group(g);
  }
  store_sums(g, at, sum, nullptr);
}

// ---- int8 activations ----------------------------------------------------------------------------------------------

/// `D` says how four codes, less D::kOffset, and four activations are multiplied and added up exactly, in D::Sums that
/// hold D::kDepth steps at most (0: any number).
template <class D, std::size_t MR, std::size_t P, std::size_t NV>
[[gnu::noinline]] void add_missing(const Stream<D, P, NV>& stream, const GemmArgs& g, const Place& at,
                                   std::size_t first, std::size_t count, Words (&total)[MR][P * NV]) noexcept {
  for (std::size_t r = 0; r < MR; ++r) {
    const std::int8_t* a = g.a_s8 + (at.row + r) * g.lda;
    at.lowest[r].for_each(a, first, first + count, [&](std::size_t i) {
      const std::size_t step = (i - first) / D::kInputs * 4 * D::kColumns;
      for (std::size_t c = 0; c < P * NV; ++c) {
        const Words v = load_words(stream.codes[c / NV] + step + 4 * kLanes * (c % NV));
        total[r][c] = add_words(total[r][c], D::missing(v, (i - first) % D::kInputs));
      }
    });
  }
}

template <class D, std::size_t MR, std::size_t P, std::size_t NV>
[[gnu::noinline]] void tile_s8(const GemmArgs& g, const Place& at) noexcept {
  constexpr std::size_t kN = P * NV;
  Stream<D, P, NV> stream(g, at);
  const std::int8_t* a = g.a_s8 + at.row * g.lda;
  const std::size_t lda = g.lda;
  const std::size_t groups = g.shape->k != 0 ? ceil_div(g.shape->k, g.shape->group) : 0;
  const std::int32_t* group_sums = g.a_sums_s32 + at.row * groups;
  const D dot;
  const bool doubles = D::kMayDouble && g.shape->code_step == 2;
  Floats sum[MR][kN];
  clear(sum);
  for (std::size_t index = 0; index < groups; ++index) {
    const std::size_t left = g.shape->k - index * g.shape->group;
    Words total[MR][kN];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < MR; ++r) {
      const std::int32_t s = group_sums[r * groups + index];
#pragma GCC unroll 8
      for (std::size_t c = 0; c < kN; ++c)
        total[r][c] = splat_word(doubles ? 0 : (D::kOffset - (g.shape->has_zeros ? 0 : g.shape->zero)) * s);
    }
    if constexpr (kMissesLowest<D>) {
      if (at.lowest != nullptr)
        add_missing<D>(stream, g, at, index * g.shape->group, left < g.shape->group ? left : g.shape->group, total);
    }
    for (std::size_t s = ceil_div(left < g.shape->group ? left : g.shape->group, D::kInputs); s != 0;) {
      std::size_t depth = D::kDepth != 0 && s > D::kDepth ? D::kDepth : s;
      s -= depth;
      typename D::Sums part[MR][kN];
#pragma GCC unroll 16
      for (std::size_t r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (std::size_t c = 0; c < kN; ++c) part[r][c] = D::begin(total[r][c]);
      for (; depth != 0; --depth) {
        Words v[kN];
        stream.load_step(v);
#pragma GCC unroll 8
        for (std::size_t q = 0; q < D::kInputs / 4; ++q) {
          typename D::Codes w[kN];
#pragma GCC unroll 8
          for (std::size_t c = 0; c < kN; ++c) w[c] = dot.codes(v[c], q);
#pragma GCC unroll 16
          for (std::size_t r = 0; r < MR; ++r) {
            const auto x = dot.activations(a + r * lda + 4 * q);
#pragma GCC unroll 8
            for (std::size_t c = 0; c < kN; ++c) part[r][c] = dot.add(part[r][c], w[c], x);
          }
        }
        stream.next_step();
        a += D::kInputs;
      }
#pragma GCC unroll 16
      for (std::size_t r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (std::size_t c = 0; c < kN; ++c) total[r][c] = dot.end(total[r][c], part[r][c]);
    }
    if (doubles) {
#pragma GCC unroll 16
      for (std::size_t r = 0; r < MR; ++r) {
        const Words shift = splat_word(g.shape->has_zeros ? 0 : g.shape->zero * group_sums[r * groups + index]);
#pragma GCC unroll 8
        for (std::size_t c = 0; c < kN; ++c) total[r][c] = subtract(add_words(total[r][c], total[r][c]), shift);
      }
    }
    if (g.shape->has_zeros) {
#pragma GCC unroll 8
      for (std::size_t c = 0; c < kN; ++c) {
        const Words zeros = stream.zeros(g, c);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < MR; ++r)
          total[r][c] = subtract(total[r][c], multiply_words(zeros, splat_word(group_sums[r * groups + index])));
      }
    }
    Floats scale[kN];
    stream.load_scales(g, scale);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < MR; ++r)
#pragma GCC unroll 8
      for (std::size_t c = 0; c < kN; ++c) sum[r][c] = fma(to_floats(total[r][c]), scale[c], sum[r][c]);
    if (g.shape->has_offsets)
      for (std::size_t r = 0; r < MR; ++r)
        subtract_offsets(stream, g, to_floats(splat_word(group_sums[r * groups + index])), sum[r]);
    stream.next_group(g);
  }
  store_sums(g, at, sum, g.a_scales);
}

// ---- the walk over a matrix ----------------------------------------------------------------------------------------

template <class W, std::size_t MR, std::size_t P, std::size_t NV>
inline void tile(const GemmArgs& g, const Place& at) noexcept {
  if constexpr (requires { typename W::Sums; }) {
    tile_s8<W, MR, P, NV>(g, at);
  } else if constexpr (W::kInputs > 2) {
    tile_grouped<W, MR, P, NV>(g, at);
  } else {
    tile_float<W, MR, P, NV>(g, at);
  }
}

/// One block of `MR` rows against the columns from at.column to `end`.
template <class Tiles, class W, std::size_t MR>
inline void run_columns(const GemmArgs& g, Place at, std::size_t end) noexcept {
  constexpr std::size_t kBlocks = Tiles::blocks(MR);
  constexpr std::size_t kVectors = Tiles::vectors(MR);
  constexpr std::size_t kWidth = kVectors * kLanes;
  std::size_t left = ceil_div(end - at.column, kWidth);
  for (; left >= kBlocks; left -= kBlocks, at.column += kWidth * kBlocks) tile<W, MR, kBlocks, kVectors>(g, at);
  for (; left != 0; --left, at.column += kWidth) tile<W, MR, 1, kVectors>(g, at);
}

template <class Tiles, class W, std::size_t MR = Tiles::kMaxRows>
inline void run_rows(const GemmArgs& g, std::size_t rows, const Place& at, std::size_t end) noexcept {
  if (rows == MR) {
    run_columns<Tiles, W, MR>(g, at, end);
  } else if constexpr (MR > 1) {
    run_rows<Tiles, W, MR - 1>(g, rows, at, end);
  }
}

/// Up to kMaxRows rows are one block, so that weights are read once. More are cut into blocks of at most kBlockRows and
/// almost equal size, so that none is left to be done alone; then columns are cut into runs whose weights stay in the
/// second-level cache, and the first two blocks of rows fetch half of the next run each.
template <class Tiles, class W>
inline void run(const GemmArgs& g, const Lowest* lowest = nullptr) noexcept {
  constexpr std::size_t kCache = std::size_t{256} << 10;
  constexpr std::size_t kColumns = W::kColumns;
  constexpr std::size_t kAhead = 4096;  // bytes
  const std::size_t first = g.panel_begin * kColumns;
  const std::size_t last = g.panel_end * kColumns < g.shape->n ? g.panel_end * kColumns : g.shape->n;
  if (g.m == 0 || first >= last) return;
  const std::size_t blocks = g.m <= Tiles::kMaxRows ? 1 : ceil_div(g.m, Tiles::kBlockRows);
  const std::size_t all = g.panel_end - g.panel_begin;
  const std::size_t fitting = kCache / (g.shape->panel_stride + 1);
  const std::size_t panels = blocks == 1 ? all : fitting != 0 ? fitting : 1;
  const std::size_t run_bytes = panels * g.shape->panel_stride;
  const bool fetch_next = blocks > 1 && run_bytes < 3 * kCache / 2;
  for (std::size_t column = first; column < last; column += panels * kColumns) {
    const std::size_t end = last - column < panels * kColumns ? last : column + panels * kColumns;
    std::size_t row = 0;
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::size_t rows = (g.m - row) / (blocks - block);
      const std::size_t even = block == 0 && fetch_next ? run_bytes : kAhead;
      const std::size_t odd = block == 1 && fetch_next ? run_bytes : kAhead;
      run_rows<Tiles, W>(g, rows, Place{column, row, {even, odd}, lowest != nullptr ? lowest + row : nullptr}, end);
      row += rows;
    }
  }
}

template <class W>
inline void gemm_f32(const GemmArgs& g) noexcept {
  run<FloatTiles<W>, W>(g);
}
inline void gemm_w8_f32(const GemmArgs& g) noexcept {
  if (g.shape->code_step != 0) return gemm_f32<W8>(g);
  switch (g.shape->mantissa_bits) {
    case 2:
      return gemm_f32<W8Minifloat<2>>(g);
    case 3:
      return gemm_f32<W8Minifloat<3>>(g);
    case 4:
      return gemm_f32<W8Minifloat<4>>(g);
    default:
      return gemm_f32<W8Table>(g);
  }
}
template <class D>
inline void gemm_s8(const GemmArgs& g) noexcept {
  if constexpr (kMissesLowest<D>) {
    constexpr std::size_t kRows = 512;
    Lowest lowest[kRows];
    GemmArgs part = g;
    for (std::size_t row = 0; row < g.m; row += kRows) {
      part.m = g.m - row < kRows ? g.m - row : kRows;
      bool any = false;
      for (std::size_t r = 0; r < part.m; ++r) {
        lowest[r] = Lowest(part.a_s8 + r * part.lda, part.shape->k);
        any |= lowest[r].count != 0;
      }
      run<Int8Tiles<D>, D>(part, any ? lowest : nullptr);
      part.a_s8 += part.m * part.lda;
      part.a_scales += part.m;
      part.a_sums_s32 += part.m * (part.shape->group != 0 ? ceil_div(part.shape->k, part.shape->group) : 0);
      if (part.y_type == OutputType::f32)
        part.y += part.m * part.ldy;
      else
        part.y16 += part.m * part.ldy;
    }
  } else {
    run<Int8Tiles<D>, D>(g);
  }
}
