"""The device of a job."""

import pytest
import torch

from plumbline import devices


def test_auto_is_the_gpu_if_there_is_one():
    assert devices.choose().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert devices.choose("cpu") == torch.device("cpu")


@pytest.mark.rejects
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_missing_is_an_error():
    with pytest.raises(devices.NoGPUError, match=r"`accelerator` is `gpu`.*accelerator: cpu"):
        devices.choose("gpu")


@pytest.mark.parametrize("available", [False, True])
def test_choosing_turns_tf32_off(monkeypatch, available):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    chosen = devices.choose()
    assert chosen == torch.device("cuda:1" if available else "cpu")
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_names_of_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    assert devices.name_of(torch.device("cpu")) == "cpu"
    assert devices.name_of(torch.device("cuda:1")) == "cuda:1 (NVIDIA H100)"
