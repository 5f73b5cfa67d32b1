#!/bin/sh
# Builds Forerun with CUDA so that one program serves all PCs: it needs no NVIDIA library to start, looks for them at run
# time, and goes on with the processor where there are none. docs/gpu.md says what has to be installed.
#
#   scripts/build-cuda.sh [CARGO ARGUMENTS, build --release by default]
#
# CUDA_HOME            folder of the toolkit, or what WHEELS made [the one that nvcc is in]
# CUDA_COMPUTE_CAP     oldest cards to serve: 80 for Ampere and newer, 75 for Turing [80]
# WHEELS=FOLDER        get nvcc 13.0 from PyPI into that folder first; no toolkit, driver or card is needed
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

if [ -n "${WHEELS:-}" ]; then
    mkdir -p "$WHEELS/home/lib64"
    wheels=$(cd "$WHEELS" && pwd)
    python3 -m pip install --quiet --no-deps --target "$wheels/site" --upgrade \
        nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
        nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
    for part in bin include nvvm; do ln -sfn "$wheels/site/nvidia/cu13/$part" "$wheels/home/$part"; done
    ln -sf "$wheels/site/nvidia/cu13/lib/libcudart_static.a" "$wheels/home/lib64/libcudart_static.a"
    CUDA_HOME=$wheels/home
fi
if [ -z "${CUDA_HOME:-}" ]; then
    nvcc=$(command -v nvcc) || { echo "no nvcc: install the CUDA toolkit, or set WHEELS=FOLDER" >&2; exit 1; }
    CUDA_HOME=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
fi
export CUDA_HOME CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"
export PATH="$CUDA_HOME/bin:$PATH"
build=${CARGO_TARGET_DIR:-$root/target}/cuda-sources
mkdir -p "$build/link"
build=$(cd "$build" && pwd)
# The static runtime under the name that is linked: then no libcudart is needed at run time.
static=$(ls "$CUDA_HOME"/lib64/libcudart_static.a "$CUDA_HOME"/lib/libcudart_static.a 2>/dev/null | head -n 1)
[ -n "$static" ] || { echo "$CUDA_HOME has no libcudart_static.a: install the toolkit whole" >&2; exit 1; }
ln -sf "$static" "$build/link/libcudart.a"
export LIBRARY_PATH="$build/link${LIBRARY_PATH:+:$LIBRARY_PATH}"

# candle asks the bindings to link NVIDIA's libraries; a program that does cannot start without them. One word in its
# manifest makes them be loaded when they are first used. The copy lies beside the build, and the lock file, which cargo
# changes for it, is put back at the end.
cargo fetch --quiet --locked --manifest-path "$root/Cargo.toml"
version=$(sed -n '/^name = "candle-core"$/{n;s/version = "\(.*\)"/\1/p;}' "$root/Cargo.lock")
source=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"candle-core-$version" | head -n 1)
if [ ! -d "$build/candle-core-$version" ]; then
    cp -R "$source" "$build/candle-core-$version.new"
    sed -i.old 's/"dynamic-linking"/"dynamic-loading"/' "$build/candle-core-$version.new/Cargo.toml"
    grep -q '"dynamic-loading"' "$build/candle-core-$version.new/Cargo.toml" ||
        { echo "candle-core $version asks for its libraries in another way; this script has to be adapted" >&2; exit 1; }
    mv "$build/candle-core-$version.new" "$build/candle-core-$version"
fi
cp "$root/Cargo.lock" "$build/Cargo.lock.kept"
trap 'cp "$build/Cargo.lock.kept" "$root/Cargo.lock"' EXIT INT TERM

[ $# -gt 0 ] || set -- build --release
cd "$root"
cargo "$@" --features cuda --config "patch.crates-io.candle-core.path=\"$build/candle-core-$version\""
