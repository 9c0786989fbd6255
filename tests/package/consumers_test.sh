#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# consumers_test.sh CXX SOURCE_DIR BUILD_DIR CONFIG: kvant as its users get it. Installs what BUILD_DIR holds, and
# a static library, moves the installations elsewhere, and builds and runs the projects beside this script against them,
# in the ways and with the commands that docs/embedding.md shows.
set -euo pipefail

cxx=$1 source=$2 build=$3 config=$4
package=$source/tests/package
work=$(mktemp -d)
shared=$work/moved/shared static=$work/moved/static headers=$work/moved/headers

title=
finish() { # EXIT_CODE
  [[ $1 -eq 0 ]] || { cat "$work/log"; echo "FAILED: $title"; } || true
  rm -rf "$work"
}
trap 'finish $?' EXIT

step() { # TITLE COMMAND…: silent unless it fails. No || after the command, which would switch off `set -e` inside it.
  title=$1
  shift
  printf '%3d s  %s\n' "$SECONDS" "$title"
  "$@" >"$work/log" 2>&1 </dev/null
}

# --- what the documentation shows ---------------------------------------------------------------------------------

# The one command of docs/embedding.md that matches PATTERN, with the paths of this test in place of its example's.
documented() { # PATTERN PREFIX [BUILD_DIR]
  local line
  line=$(awk '$0 == "```sh" { inside = 1; next } /^```/ { inside = 0 } inside' "$source/docs/embedding.md" |
    grep -e "$1" | sed -e "s|/opt/kvant|$2|; s|build/release|${3-}|")
  [[ -n $line && $line != *$'\n'* ]] || { echo "docs/embedding.md has not exactly one command like $1" >&2; return 1; }
  printf '%s' "$line"
}

# The one C++ program of docs/embedding.md that has a line with TEXT.
documented_cpp() { # TEXT
  awk -v text="$1" '$0 == "```cpp" { inside = 1; program = ""; next }
    /^```/ { if (inside && index(program, text)) printf "%s", program; inside = 0 }
    inside { program = program $0 "\n" }' "$source/docs/embedding.md" | grep . || return 1
}

# Every CMake block of a page stands, line for line, in a project that is built below.
documented_cmake_is_used() { # PAGE
  local block='' inside=0 blocks=0 line projects
  projects=$(cat "$package"/*/CMakeLists.txt)
  while IFS= read -r line; do
    if [[ $line == '```cmake' ]]; then
      inside=1 block=''
    elif [[ $line == '```' && $inside == 1 ]]; then
      inside=0 blocks=$((blocks + 1))
      [[ $projects == *"$block"* ]] || { printf '%s: no consumer has these lines:\n%s' "$1" "$block"; return 1; }
    elif [[ $inside == 1 ]]; then
      block+=$line$'\n'
    fi
  done <"$1"
  [[ $blocks -gt 0 ]] || { echo "$1 has no CMake block"; return 1; }
}

# --- installations --------------------------------------------------------------------------------------------------

# Stripped, so that a build for debuggers, which names its sources, can be checked too (CMake leaves archives alone).
install_tree() { # BUILD_DIR NAME [CMAKE OPTION…]
  local tree=$1 name=$2 command
  shift 2
  command=$(documented 'cmake --install' "$work/first/$name" "$tree")
  bash -euc "$command --strip --config $config $*"
  mkdir -p "$work/moved"
  find "$work/first/$name" -name '*.a' -exec strip --strip-debug {} +
  mv "$work/first/$name" "$work/moved/$name"
}

# Configured as BUILD_DIR, so that a compiler cache, where there is one, has every object already. It stays for the next
# run of the test.
static_tree() {
  local same
  mapfile -t same < <(sed -nE 's/^((KVANT_|CMAKE_BUILD_TYPE|CMAKE_CXX_(COMPILER|FLAGS))[A-Z_]*:(BOOL|FILEPATH|PATH|STRING)=.*)/-D\1/p' \
    "$build/CMakeCache.txt")
  cmake -S "$source" -B "$build/package_static" -G Ninja "${same[@]}" -DBUILD_SHARED_LIBS=OFF -DKVANT_BUILD_CLI=OFF \
    -DKVANT_BUILD_EXAMPLES=OFF -DKVANT_BUILD_TESTS=OFF
  cmake --build "$build/package_static" --parallel "$(nproc)"
}

holds_what_it_should() { # PREFIX
  local strange
  diff -r "$source/include/kvant" "$1/include/kvant"
  strange=$(cd "$1" && find . ! -type d | grep -Ev '^\./(include/kvant/.*|bin/kvant|share/doc/kvant/LICENSE)$' |
    grep -Ev '^\./lib[^/]*/(libkvant\.(a|so[.0-9]*)|pkgconfig/kvant(-headers)?\.pc|cmake/kvant/kvant-[a-z-]+\.cmake)$' || true)
  [[ -z $strange ]] || { printf 'installed, but not expected:\n%s\n' "$strange"; return 1; }
}

names_no_folder_of_this_machine() { # PREFIX
  local found
  found=$(grep -rlF -e "$source" -e "$build" -e "$work" "$1" || true)
  [[ -z $found ]] || { printf 'these name a folder of this machine:\n%s\n' "$found"; return 1; }
}

# --- consumers --------------------------------------------------------------------------------------------------------

# Copies a project with its sources, so that nothing of the repository is near, and builds it, unoptimized to be quick.
# It is told that private dependencies do not exist: none of them may be asked for.
project() { # NAME PREFIX [CMAKE OPTION…]
  local name=$1 prefix=$2
  shift 2
  rm -rf "${work:?}/project"
  cp -r "$package/$name" "$work/project"
  case $name in
    header_only) cp "$source/examples/03_pack_and_matmul.cpp" "$work/project/main.cpp" ;;
    linked) cp "$package/consumer.cpp" "$work/project/main.cpp" ;;
    no_exceptions)
      cp "$package/consumer.cpp" "$work/project/main.cpp"
      cp "$source/examples/03_pack_and_matmul.cpp" "$work/project/headers.cpp"
      documented_cpp 'public kvant::Executor' >"$work/project/executor.cpp"
      ;;
    from_c)
      cp "$source/examples/07_packed.c" "$work/project/main.c"
      cp "$source/examples/08_packed_cpp17.cpp" "$work/project/main.cpp"
      ;;
    subdirectory)
      cp "$source/examples/03_pack_and_matmul.cpp" "$work/project/main.cpp"
      ln -s "$source" "$work/project/kvant"
      ;;
  esac
  cmake -S "$work/project" -B "$work/project/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_DISABLE_FIND_PACKAGE_{CLI11,fmt,nlohmann_json}=ON -DCMAKE_CXX_COMPILER="$cxx" "$@"
  cmake --build "$work/project/build" --parallel "$(nproc)"
}
needs_only_tl_expected=(-DCMAKE_DISABLE_FIND_PACKAGE_{PkgConfig,Threads}=ON)

# The consumer and the installed program write the same bytes.
quantizes() { # PROGRAM
  "$1" "$source/models/tiny" "$work/model" int4-g32
  cmp "$work/expected/model.safetensors" "$work/model/model.safetensors"
}

needs_no_libkvant() { # PROGRAM
  if ldd "$1" | grep libkvant; then
    return 1
  fi
}

# A program of the debug mode of the standard library says why it can't be linked with a library of the other one.
refuses_another_debug_mode() { # PREFIX
  local said
  said=$(project linked "$1" -DCMAKE_CXX_FLAGS=-D_GLIBCXX_DEBUG "${needs_only_tl_expected[@]}" 2>&1) && return 1
  printf '%s\n' "$said"
  grep -q 'undefined.*libkvant_built_with_D_GLIBCXX_DEBUG' <<<"$said"
}

# A program built by the command that the documentation shows for pkg-config, which sees PREFIX and EXTRA alone.
with_pkg_config() { # PATTERN PREFIX MAIN [EXTRA]
  local command lib
  command=$(documented "$1" "$2")
  lib=$(dirname "$(find "$2" -name pkgconfig)")
  rm -rf "${work:?}/project"
  mkdir "$work/project"
  cp "$3" "$work/project/main.cpp"
  (cd "$work/project" && PKG_CONFIG_LIBDIR=$lib/pkgconfig:${4-} bash -euc "$command")
  export LD_LIBRARY_PATH=$lib
}

step 'the CMake lines of README.md are used' documented_cmake_is_used "$source/README.md"
step 'the CMake lines of docs/embedding.md are used' documented_cmake_is_used "$source/docs/embedding.md"

step 'install what was built' install_tree "$build" shared
step 'install the headers alone' install_tree "$build" headers --component kvant_headers
step 'build a static library' static_tree
step 'install the static library' install_tree "$build/package_static" static
for prefix in "$shared" "$headers" "$static"; do
  step "$(basename "$prefix"): every file that belongs there" holds_what_it_should "$prefix"
  step "$(basename "$prefix"): no folder of this machine" names_no_folder_of_this_machine "$prefix"
done
step 'the installed program finds its library' \
  "$shared/bin/kvant" quantize "$source/models/tiny" -o "$work/expected" --scheme int4-g32 --quiet

step 'components: all' project components "$shared" -DHAS_LIBRARY=ON "${needs_only_tl_expected[@]}"
step 'components: headers alone' project components "$headers" -DHAS_LIBRARY=OFF "${needs_only_tl_expected[@]}"
step 'header-only' project header_only "$static" "${needs_only_tl_expected[@]}"
step 'header-only: nothing to load' needs_no_libkvant "$work/project/build/engine"
step 'header-only: runs' "$work/project/build/engine"
step 'header-only, -D_GLIBCXX_DEBUG' project header_only "$headers" -DCMAKE_CXX_FLAGS=-D_GLIBCXX_DEBUG
step 'header-only, -D_GLIBCXX_DEBUG: runs' "$work/project/build/engine"
step 'linked, another debug mode: says so' refuses_another_debug_mode "$shared"
step 'linked' project linked "$shared" "${needs_only_tl_expected[@]}"
step 'linked: runs' quantizes "$work/project/build/engine"
step 'linked statically' project linked "$static"
step 'linked statically: nothing to load' needs_no_libkvant "$work/project/build/engine"
step 'linked statically: runs' quantizes "$work/project/build/engine"
step 'packed' "$shared/bin/kvant" pack "$source/models/tiny" -o "$work/tiny.kvant" --force --quiet
for prefix in "$shared" "$static"; do
  step "from C, $(basename "$prefix")" project from_c "$prefix" -DCMAKE_C_COMPILER="${CC:-cc}"
  step 'from C: C11 runs' "$work/project/build/engine" "$work/tiny.kvant"
  step 'from C: C++17 runs' "$work/project/build/engine_cpp17" "$work/tiny.kvant"
done
step 'without exceptions' project no_exceptions "$shared" "${needs_only_tl_expected[@]}"
step 'without exceptions: library runs' quantizes "$work/project/build/engine"
step 'without exceptions: headers run' "$work/project/build/engine_headers"
step 'without exceptions: an executor of its own' "$work/project/build/engine_executor"
if command -v clang++ >/dev/null; then
  step 'linked by clang' project linked "$shared" -DCMAKE_CXX_COMPILER=clang++ "${needs_only_tl_expected[@]}"
  step 'linked by clang: runs' quantizes "$work/project/build/engine"
else
  echo '       no clang++ here'
fi
step 'as a folder of another project' project subdirectory ''
step 'as a folder of another project: library runs' "$work/project/build/engine"
step 'as a folder of another project: headers run' "$work/project/build/engine_headers"

system_modules=$(pkg-config --variable pc_path pkg-config)
step 'pkg-config, headers' with_pkg_config 'kvant-headers' "$headers" "$source/examples/03_pack_and_matmul.cpp"
step 'pkg-config, headers: runs' "$work/project/engine"
step 'pkg-config, shared' with_pkg_config 'pkg-config --cflags --libs kvant)' "$shared" "$package/consumer.cpp"
step 'pkg-config, shared: runs' quantizes "$work/project/engine"
step 'pkg-config, static' with_pkg_config '--static' "$static" "$package/consumer.cpp" "$system_modules"
step 'pkg-config, static: runs' quantizes "$work/project/engine"
echo "all consumers built and ran in $SECONDS s"
