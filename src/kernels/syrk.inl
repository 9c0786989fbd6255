// SPDX-License-Identifier: Apache-2.0
// X^T X, upper triangle, for any vector width. Included as gemm.inl is, with kSyrkRows and kSyrkVectors saying how
// large a tile of outputs fits into the registers.

/// A block of rows of x is copied to the stack (230 KB) before it is used: in place, rows a power of two apart would
/// share one set of the first-level cache.
struct SyrkBlock {
  static constexpr std::size_t kDepth = 256;                    // rows of x at a time
  static constexpr std::size_t kLeft = 192;                     // rows of c at a time
  static constexpr std::size_t kRight = kSyrkVectors * kLanes;  // columns of c at a time
  static_assert(kLeft % kSyrkRows == 0 && kLeft % kLanes == 0);

  alignas(64) float left[kDepth * kLeft];
  alignas(64) float right[kDepth * kRight];
};

/// `depth` rows of x from column `first` on, `Width` columns wide, zeros from column `end` on.
template <std::size_t Width>
inline void copy_columns(const SyrkArgs& g, std::size_t row, std::size_t depth, std::size_t first, std::size_t end,
                         float* to) noexcept {
  for (std::size_t r = 0; r < depth; ++r) {
    const float* x = g.x + (row + r) * g.ldx;
    for (std::size_t v = first; v < first + Width; v += kLanes, to += kLanes)
      store(to, v + kLanes <= end ? load(x + v) : v < end ? load(x + v, lanes(0, end - v)) : zero());
  }
}

/// c[i, j] for `rows` rows from i on and kRight columns from j on, as far as they lie in the upper triangle.
inline void syrk_tile(const SyrkArgs& g, const float* left, const float* right, std::size_t depth, std::size_t i,
                      std::size_t rows, std::size_t j) noexcept {
  Floats sum[kSyrkRows][kSyrkVectors];
  Lanes which[kSyrkRows][kSyrkVectors];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kSyrkRows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kSyrkVectors; ++v) {
      const std::size_t column = j + v * kLanes;
      const std::size_t end = r < rows && g.n > column ? g.n - column : 0;
      which[r][v] = lanes(i + r > column ? i + r - column : 0, end);
      sum[r][v] = load(g.c + (i + r) * g.ldc + column, which[r][v]);
    }
  for (; depth != 0; --depth, left += SyrkBlock::kLeft, right += SyrkBlock::kRight) {
    Floats x[kSyrkVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kSyrkVectors; ++v) x[v] = load(right + v * kLanes);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < kSyrkRows; ++r) {
      const Floats y = splat(left[r]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kSyrkVectors; ++v) sum[r][v] = fma(y, x[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kSyrkRows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kSyrkVectors; ++v)
      store(g.c + (i + r) * g.ldc + j + v * kLanes, sum[r][v], which[r][v]);
}

/// Fetches what the tile below this one will touch in c, and its share of the next columns of x.
inline void syrk_prefetch(const SyrkArgs& g, std::size_t row, std::size_t depth, std::size_t i,
                          std::size_t j) noexcept {
  for (std::size_t r = i + kSyrkRows; r < i + 2 * kSyrkRows && r < g.row_end; ++r)
    for (std::size_t c = j; c < j + SyrkBlock::kRight && c < g.n; c += 16) prefetch(g.c + r * g.ldc + c);
  constexpr std::size_t kTiles = SyrkBlock::kLeft / kSyrkRows;
  const std::size_t share = (i - g.row_begin) / kSyrkRows % kTiles;
  for (std::size_t r = depth * share / kTiles; r < depth * (share + 1) / kTiles; ++r)
    for (std::size_t c = j + SyrkBlock::kRight; c < j + 2 * SyrkBlock::kRight && c < g.n; c += 16)
      prefetch(g.x + (row + r) * g.ldx + c);
}

inline void syrk(const SyrkArgs& g) noexcept {
  SyrkBlock block;
  for (std::size_t i = g.row_begin; i < g.row_end; i += SyrkBlock::kLeft) {
    const std::size_t i_end = g.row_end - i < SyrkBlock::kLeft ? g.row_end : i + SyrkBlock::kLeft;
    for (std::size_t row = 0; row < g.rows; row += SyrkBlock::kDepth) {
      const std::size_t depth = g.rows - row < SyrkBlock::kDepth ? g.rows - row : SyrkBlock::kDepth;
      copy_columns<SyrkBlock::kLeft>(g, row, depth, i, i_end, block.left);
      for (std::size_t j = i; j < g.n; j += SyrkBlock::kRight) {
        copy_columns<SyrkBlock::kRight>(g, row, depth, j, g.n, block.right);
        for (std::size_t t = i; t < i_end && t < j + SyrkBlock::kRight; t += kSyrkRows) {
          syrk_prefetch(g, row, depth, t, j);
          syrk_tile(g, block.left + (t - i), block.right, depth, t, i_end - t, j);
        }
      }
    }
  }
}
