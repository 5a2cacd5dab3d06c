# An image that runs as nobody and needs nothing writable:
#
#     docker build -t mailproxy .
#     docker run --read-only --cap-drop all -v /etc/mailproxy:/etc/mailproxy:ro mailproxy
#
# Inside a container 127.0.0.1 is the container alone: the configuration has to name an interface for each listener.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/run.txt requirements/build.txt requirements/
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
 && python3 -m venv /opt/mailproxy \
 && /opt/mailproxy/bin/pip install --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY mailproxy/ mailproxy/
COPY twisted/ twisted/
# The plugin cache is made here, where it can be written, and dated ahead: layers keep whole seconds, and Twisted makes
# it anew unless the plugin is older than it.
RUN /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/mailproxy/bin/pip install --no-deps --no-index /dist/*.whl \
 && /opt/mailproxy/bin/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))' \
 && find /opt/mailproxy -name dropin.cache -exec touch -d '+1 minute' {} + \
 && /opt/mailproxy/bin/pip uninstall -y pip \
 && find /opt/mailproxy -type d -name test -path '*/twisted/*' -prune -exec rm -rf {} +

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 65532 mailproxy \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mailproxy
COPY --from=build /opt/mailproxy /opt/mailproxy
ENV PATH=/opt/mailproxy/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "mailproxy"]
CMD ["--config", "/etc/mailproxy/mailproxy.toml"]
