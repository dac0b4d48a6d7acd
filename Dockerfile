# The server as an image: docker build -t contextpool-server .
#
#   script/bootstrap models
#   docker run --rm --read-only -p 8001:8001 -p 8002:8002 \
#     -v ~/.cache/contextpool-server/models:/models:ro contextpool-server
#
# With GPUs: docker build --build-arg FLAVOUR=cuda, and docker run --gpus all.

# cpu or cuda: a stage below.
ARG FLAVOUR=cpu

FROM debian:bookworm-slim AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG FLAVOUR
WORKDIR /src
# The tools and libraries change seldom: a layer of their own.
COPY script/bootstrap script/lib.sh script/
RUN script/bootstrap build ${FLAVOUR#cpu}
COPY . .
RUN option=${FLAVOUR#cpu} && script/build ${option:+"--$option"} \
  && script/collect-runtime ${option:+"--$option"} /out

FROM debian:bookworm-slim AS cpu
# Nothing is installed here: the two programs, the libraries that they load, CA certificates.
COPY --from=build /out/ /
RUN ldconfig && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin contextpool \
  && mkdir /models
USER 10001:10001
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
# The server's own program asks its readiness page; no shell or curl is needed.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["/usr/local/bin/contextpool-server", "--healthcheck"]
ENTRYPOINT ["/usr/local/bin/contextpool-server"]
CMD ["--model_repository=/models"]

FROM cpu AS cuda
# What NVIDIA's container runtime is to bring in: every GPU that the container gets, the driver's
# libraries and nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM ${FLAVOUR}
