"""The plainest service of the field: FastAPI, torchvision, one function. What `serve.py` measures against."""

from __future__ import annotations

import io
from typing import Annotated

import torch
from fastapi import FastAPI, File, Response
from PIL import Image
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from torchvision.transforms import functional as F

app = FastAPI()
model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).eval()


@app.get("/health/ready")
def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/v1/segment")
def segment(image: Annotated[bytes, File()]) -> Response:
    photo = Image.open(io.BytesIO(image)).convert("RGB")
    batch = F.normalize(F.to_tensor(F.resize(photo, [520])), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).unsqueeze(0)
    with torch.inference_mode():
        scores = model(batch)["out"]
    mask = F.resize(scores.argmax(dim=1).byte(), [photo.height, photo.width], F.InterpolationMode.NEAREST)
    buffer = io.BytesIO()
    Image.fromarray(mask[0].numpy()).save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png")
