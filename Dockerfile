# Written on a machine without access to an image registry: this file has not been built there.
#
#   docker build -t alpaca-lora .
#   docker build -t alpaca-lora --build-arg PIP_FLAGS="--extra-index-url URL" .   # the index of PyTorch's CPU builds
#   docker run --rm -it -v "$PWD/runs:/app/runs" alpaca-lora finetune.py --base_model alpaca-tiny --data_path sample \
#       --val_set_size 50 --output_dir runs/first
#   docker run --rm -it -v "$PWD/runs:/app/runs" alpaca-lora generate.py --base_model alpaca-tiny --lora_weights runs/first
#
# For an NVIDIA card add --gpus all. Both scripts and the command alpaca-lora are inside.

FROM python:3.12-slim

RUN useradd --create-home --uid 1000 alpaca \
 && mkdir -p /app/runs /cache \
 && chown -R alpaca:alpaca /app /cache
WORKDIR /app

# Dependencies first: they change less often than the code.
ARG PIP_FLAGS=""
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY alpaca_lora/__init__.py alpaca_lora/__init__.py
RUN pip install --no-cache-dir torch==2.13.0 --constraint constraints.txt ${PIP_FLAGS} --editable '.[data,gguf,quant,track]'

COPY alpaca_lora alpaca_lora
COPY finetune.py generate.py ./

USER alpaca
ENV HF_HOME=/cache PYTHONUNBUFFERED=1
ENTRYPOINT ["python"]
CMD ["-m", "alpaca_lora", "doctor"]
