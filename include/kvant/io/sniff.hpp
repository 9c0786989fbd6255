// SPDX-License-Identifier: Apache-2.0
// What a file is, judged by its first bytes and never by its name.
#pragma once

#include "kvant/core/error.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/readers.hpp"

namespace kvant::io {

/// The row of a file that kvant reads. Everything else is refused by name: lfs_pointer, html_page, pickle, archive
/// (zip, gzip, ...), unsupported (GGUF, ONNX, HDF5), truncated (fewer than 8 bytes), bad_header (unknown).
[[nodiscard]] Result<const FileFormat*> sniff(const InputFile& file);

}  // namespace kvant::io
