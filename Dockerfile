# The same locked packages as `make install`, without the developers' tools.
#   docker build -t deepblock .
#   docker run -p 9645:9645 -p 127.0.0.1:8645:8645 -v deepblock:/data deepblock
# 9645 is for other nodes; 8645 is the JSON-RPC, which that line publishes to the host alone.
# For a smaller image without CUDA: --build-arg TORCH_FLAGS="--index-url …" (PyTorch's index of CPU builds).
FROM python:3.11-slim

ARG TORCH_FLAGS=""
WORKDIR /app
COPY locks locks
RUN pip install --no-cache-dir --no-deps --only-binary :all: -r locks/build.txt \
 && pip install --no-cache-dir --no-deps --no-build-isolation --only-binary :all: --no-binary python-baseconv,varint \
        -r locks/run.txt \
 && pip install --no-cache-dir ${TORCH_FLAGS} torch==2.13.0

COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
 && useradd --create-home --uid 1000 deepblock \
 && install --directory --owner deepblock /data

USER deepblock
# For the processor that builds the image; on another one the first session compiles again.
RUN python -m deepblock.exact.compiled
VOLUME /data
EXPOSE 9645 8645
ENTRYPOINT ["deepblock-node"]
CMD ["run", "--network", "testnet", "--data-dir", "/data", "--rpc-host", "0.0.0.0"]
