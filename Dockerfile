# The server as an image: docker build -t contextpool-server .
#
#   script/bootstrap models
#   docker run --rm --read-only -p 8001:8001 -p 8002:8002 \
#     -v ~/.cache/contextpool-server/models:/models:ro contextpool-server

FROM debian:bookworm-slim AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
# The tools and libraries change seldom: a layer of their own.
COPY script/bootstrap script/lib.sh script/
RUN script/bootstrap build
COPY . .
RUN script/build
RUN script/collect-runtime /out

FROM debian:bookworm-slim
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
