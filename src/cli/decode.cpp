// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "codes.hpp"
#include "console.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/npy.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

class Decode final : public Command {
 public:
  void define(Options& options) override {
    options.path({"CODES.bin", "", "codes as 'kvant cast' writes them"}, input_, Need::required);
    options.custom({"--from", "FORMAT", "the format of the codes (kvant list formats)"}, Need::required, "", false,
                   [this](std::string_view name, const std::string& text) { return set_format(format_, name, text); });
    options.path({"-o,--output", "OUT.npy", "their values, a 1-D array of float32"}, output_, Need::required);
    options.choice({"--profile", "ieee|onnx|ocp|ggml|ct|modelopt", "whose rules to follow (docs/numerics.md)"},
                   profile_, profile_names());
    options.flag({"--force", "", "replace an output that exists"}, force_);
  }

  Status run(Console& console) override {
    if (const Status ok = check_output_file(input_, output_, force_); !ok) return ok;
    const auto file = io::InputFile::open(input_);
    if (!file) return propagate(file);
    const std::size_t width = code_bytes(format_);
    if (file->size() % width != 0)
      return fail(ErrorCode::size_mismatch,
                  fmt::format("has {} bytes, which are no whole codes of {} bytes", file->size(), width),
                  io::where_of(input_));
    if (file->size() > io::kNpyMaxBytes)
      return fail(ErrorCode::limit, fmt::format("has {} bytes, at most {} are read", file->size(), io::kNpyMaxBytes),
                  io::where_of(input_));
    std::vector<std::byte> codes(static_cast<std::size_t>(file->size()));
    if (const Status ok = file->read_at(0, codes); !ok) return ok;
    const auto values = decode_all(codes, width);
    if (!values) return propagate(values);
    const std::uint64_t shape[] = {values->size()};
    if (const Status ok =
            io::write_npy(output_, *values, shape, force_ ? io::OutputMode::replace : io::OutputMode::refuse);
        !ok)
      return ok;
    if (console.json())
      console.print_json(document("decode").set("elements", values->size()));
    else
      console.print(fmt::format("{} codes of {} decoded\n", values->size(), format_info(format_).name));
    return {};
  }

 private:
  /// A code with bits above its width is of another format.
  [[nodiscard]] Result<std::vector<float>> decode_all(const std::vector<std::byte>& codes, std::size_t width) const {
    const Profile profile = *profile_from_name(profile_);
    const unsigned bits = format_info(format_).bits;
    std::vector<float> values(codes.size() / width);
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint32_t code = 0;
      std::memcpy(&code, codes.data() + i * width, width);
      if (bits < 32 && code >> bits != 0)
        return fail(ErrorCode::size_mismatch,
                    fmt::format("code {} has more than the {} bits of {}", code, bits, format_info(format_).name),
                    {io::where_of(input_).file, {}, i * width});
      values[i] = decode(format_, code, profile);
    }
    return values;
  }

  std::filesystem::path input_, output_;
  FormatId format_;
  std::string profile_ = "ieee";
  bool force_ = false;
};

}  // namespace

constinit const Verb kDecode{
    "decode",
    "CODES.bin --from FORMAT -o OUT.npy",
    "Writes the values of codes, as kvant cast makes them.",
    {"kvant decode x.bin --from fp8_e4m3fn -o y.npy", "kvant decode scales.bin --from e8m0 --profile ggml -o s.npy"},
    [] { return std::unique_ptr<Command>(std::make_unique<Decode>()); },
};

}  // namespace kvant::cli
