# One image for both services; compose.yaml runs it as worker and as dashboard, docs/operate/containers.md says how.
# To pin it by digest as well: docker buildx imagetools inspect IMAGE, and add @sha256:... to the name.
ARG BASE=python:3.11.15-slim-trixie

FROM ${BASE} AS build
COPY requirements.txt /
# Every package has a wheel: nothing is compiled, so no compiler is there, and pip stays behind in this stage.
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv install --no-cache-dir --disable-pip-version-check --only-binary :all: -r /requirements.txt
WORKDIR /app
COPY app.py ./
COPY core/ core/
COPY data/ data/
COPY pages/ pages/
COPY .streamlit/config.toml .streamlit/
# Compiled here, once: where it runs nothing of it can be written, and no time of a file is compared.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE}
LABEL org.opencontainers.image.title="Cohort Bridge" \
      org.opencontainers.image.description="Exports Mixpanel cohorts into Apptimize groups, exactly." \
      org.opencontainers.image.version="0.1.0"
# A number that does not change: it owns the home in the volume. The last line fails where the image has no time zones.
RUN groupadd --gid 10001 bridge \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bridge \
    && install -d -o 10001 -g 10001 -m 0700 /data \
    && python -c "from zoneinfo import ZoneInfo; ZoneInfo('Europe/Berlin')"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONUTF8=1 \
    COHORT_BRIDGE_HOME=/data
WORKDIR /app
USER 10001:10001
EXPOSE 8501 8502
# Of the worker; the dashboard's is in compose.yaml. No proxy of the environment is asked.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client; c = http.client.HTTPConnection('127.0.0.1', 8502, timeout=8); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
# As a list, so that SIGTERM reaches Python itself.
CMD ["python", "-m", "core", "worker"]
