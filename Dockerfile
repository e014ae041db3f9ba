# Isobatch's server. The first stage has the compiler for the fast kernels; the image has none.
#   docker build -t isobatch . && docker run -p 127.0.0.1:8080:8080 isobatch
# For CUDA: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128, and ISOBATCH_DEVICE=cuda.
FROM python:3.11 AS wheel
WORKDIR /source
COPY setup.py pyproject.toml README.md LICENSE MANIFEST.in ./
COPY isobatch isobatch
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/constraints.txt
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-compile --constraint /tmp/constraints.txt \
        --extra-index-url "$TORCH_INDEX" "isobatch[serve] @ file://$(ls /wheels/*.whl)" \
    && useradd --uid 10001 --no-create-home --home-dir /tmp isobatch \
    && mkdir /models && chown isobatch /models
USER 10001
# Models of the hub are kept in /models: a volume there saves downloading them again.
ENV ISOBATCH_HOST=0.0.0.0 \
    ISOBATCH_PORT=8080 \
    HF_HOME=/models \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME /models
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
ENTRYPOINT ["isobatch", "serve"]
