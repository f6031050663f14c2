"""Random numbers of a row, copies that do not wait, fused kernels, CUDA graphs, safetensors."""
