"""Lets the CUDA build of torchvision import beside a CPU build of torch.

torchvision's Python side registers a fake kernel for two operators of its compiled library, which can't load here;
declaring their schemas is enough, since no vision operator is ever run. Remove it once the registry has a CPU wheel.
"""

import torch

_library = torch.library.Library("torchvision", "DEF")
_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
