# Exchequer: API, worker and every other command, as one image.
#
#   docker build -t exchequer .
#   docker run exchequer --help
#
# Two stages: what installs stays behind, what runs is an interpreter, a virtualenv and the
# source. Everything that is installed is named with its hash, the build back-end too.

FROM python:3.11-slim-bookworm AS build

# The same path as in the image that runs: an editable install remembers where it is.
WORKDIR /srv/exchequer
ENV VIRTUAL_ENV=/opt/venv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never

COPY requirements-uv.txt requirements-dev.txt requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-uv.txt
RUN uv venv /opt/venv
RUN uv pip sync --no-cache --require-hashes --compile-bytecode requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY db ./db
COPY schema ./schema
# The documents that a client may name by their digest.
COPY frontend-contract/operations ./frontend-contract/operations
# Never a wheel: the application reads its SQL, seeds and pages beside its source.
# From the development requirements it takes the hash of the build back-end, nothing else.
RUN uv pip install --no-cache --no-deps --build-constraints requirements-dev.txt --editable .
RUN /opt/venv/bin/python -m compileall -q app db schema

FROM python:3.11-slim-bookworm

WORKDIR /srv/exchequer
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000

COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/exchequer /srv/exchequer

# A number, so that an orchestrator can see that it is not root. It owns no file here.
USER 10001:10001
EXPOSE 8000

# Alive, not ready: without Postgres a new container would be no better than this one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=4)"]

ENTRYPOINT ["exchequer"]
CMD ["serve"]
