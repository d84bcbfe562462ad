#!/usr/bin/env bash
# A CUDA 13 toolkit from Python wheels, for building with `--features cuda` where none is installed: nvcc, headers,
# libraries, and a stub of the driver for the linker. 1.5 GB; python3 with venv, and gcc.
#
#   tools/cuda-toolkit.sh DEST && . DEST/env && cargo build --release -p s3-train --features cuda
set -euo pipefail
dest=$(mkdir -p "${1:?usage: cuda-toolkit.sh DEST}" && cd "$1" && pwd)
python3 -m venv "$dest/venv"
"$dest/venv/bin/pip" install --quiet nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
  nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88 nvidia-cublas==13.0.2.14 \
  nvidia-curand==10.4.5.25
wheels=$(echo "$dest"/venv/lib/python3*/site-packages/nvidia/cu13)
ln -sfn "$wheels"/{bin,include,nvvm} "$dest"
# The wheels hold libcublas.so.13; a linker looks for libcublas.so.
mkdir -p "$dest/lib64/stubs"
for lib in "$wheels"/lib/*.so* "$wheels"/lib/*.a; do
  ln -sfn "$lib" "$dest/lib64/"
  name=$(basename "$lib") && ln -sfn "$lib" "$dest/lib64/${name%%.so.*}$([[ $name == *.so.* ]] && echo .so)"
done
# The driver's library comes with the driver. Its entries are those that cuda.h declares.
gcc -E -I"$wheels/include" "$wheels/include/cuda.h" | grep -oE '\bcu[A-Z]\w*\s*\(' | tr -d ' (' | sort -u |
  sed 's/.*/int &(void) { return 100; } \/\/ CUDA_ERROR_NO_DEVICE/' >"$dest/stub.c"
gcc -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$dest/lib64/stubs/libcuda.so" "$dest/stub.c"
ln -sfn libcuda.so "$dest/lib64/stubs/libcuda.so.1"
cat >"$dest/env" <<ENV
export CUDA_HOME=$dest CUDA_PATH=$dest CUDA_ROOT=$dest CUDA_TOOLKIT_ROOT_DIR=$dest
export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90} # 80: A100, 89: RTX 40, 90: H100
export PATH=$dest/bin:\$PATH LIBRARY_PATH=$dest/lib64:$dest/lib64/stubs:\${LIBRARY_PATH:-}
ENV
"$dest/bin/nvcc" --version | tail -n 1
