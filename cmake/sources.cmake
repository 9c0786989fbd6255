# SPDX-License-Identifier: Apache-2.0
# Every compiled file of the library and the program, sorted by folder; the tiers are in isa.cmake. A new file is one
# line here.

set(KVANT_SOURCES
    src/core/thread_pool.cpp
    src/kernels/cpu_features.cpp
    src/kernels/generic.cpp
    src/kernels/runtime.cpp
    src/kernels/tiers.cpp)

if(NOT KVANT_KERNELS_ONLY)
  list(APPEND KVANT_SOURCES
       src/io/atomic_file.cpp
       src/io/checkpoint.cpp
       src/io/convert.cpp
       src/io/input_file.cpp
       src/io/json.cpp
       src/io/json_sax.cpp
       src/io/live_temporaries.cpp
       src/io/npy.cpp
       src/io/posix.cpp
       src/io/quantization_config.cpp
       src/io/safetensors.cpp
       src/io/safetensors_header.cpp
       src/io/sniff.cpp
       src/io/stored_weight.cpp
       src/io/utf8.cpp
       src/io/weights.cpp
       src/nn/architectures.cpp
       src/nn/kv_cache.cpp
       src/nn/model.cpp
       src/nn/ops.cpp
       src/nn/sampling.cpp
       src/pipeline/bandwidth.cpp
       src/pipeline/bench.cpp
       src/pipeline/bench_conversion.cpp
       src/pipeline/bench_linear.cpp
       src/pipeline/caches.cpp
       src/pipeline/compare.cpp
       src/pipeline/dataset.cpp
       src/pipeline/evaluate.cpp
       src/pipeline/limits.cpp
       src/pipeline/machine_load.cpp
       src/pipeline/name_pattern.cpp
       src/pipeline/output.cpp
       src/pipeline/peaks.cpp
       src/pipeline/plan.cpp
       src/pipeline/rounds.cpp
       src/pipeline/run.cpp
       src/pipeline/windows.cpp
       src/text/added_tokens.cpp
       src/text/bpe.cpp
       src/text/decoder.cpp
       src/text/json_node.cpp
       src/text/metaspace.cpp
       src/text/normalizer.cpp
       src/text/pattern.cpp
       src/text/post_processor.cpp
       src/text/pre_tokenizer.cpp
       src/text/regex_syntax.cpp
       src/text/tokenizer.cpp
       src/text/unicode.cpp
       src/text/utf8.cpp
       src/text/vocabulary.cpp)
endif()

set(KVANT_CLI_SOURCES
    src/cli/bench.cpp
    src/cli/cast.cpp
    src/cli/compare.cpp
    src/cli/console.cpp
    src/cli/decode.cpp
    src/cli/dequantize.cpp
    src/cli/doctor.cpp
    src/cli/eval.cpp
    src/cli/gemm.cpp
    src/cli/generate.cpp
    src/cli/inspect.cpp
    src/cli/list.cpp
    src/cli/machine.cpp
    src/cli/main.cpp
    src/cli/options.cpp
    src/cli/progress.cpp
    src/cli/quantize.cpp
    src/cli/signals.cpp
    src/cli/verbs.cpp
    src/cli/version.cpp)
