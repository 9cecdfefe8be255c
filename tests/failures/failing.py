"""A user's own module that fails in a chosen way in its second training step, on one rank."""

import ctypes
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy


class Failing(pl.LightningModule):
    def __init__(self, data, failure="", on_rank=0):
        super().__init__()
        self.failure, self.on_rank = failure, on_rank
        self.layer = torch.nn.Linear(math.prod(data.input_shape), data.num_outputs)

    def training_step(self, batch, batch_idx):
        x, y = batch
        if batch_idx == 1 and self.global_rank == self.on_rank and self.failure:
            getattr(self, self.failure)(y)
        return cross_entropy(self.layer(x.flatten(1)), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", cross_entropy(self.layer(x.flatten(1)), y), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def bug(self, y):
        return {"a": 1}["b"]

    def recursion(self, y):
        return self.recursion(y)

    def exit(self, y):
        raise SystemExit(3)

    def wrong_shape(self, y):
        return torch.zeros(3, 4) @ torch.zeros(3, 4)

    def label(self, y):
        return cross_entropy(torch.zeros(2, 3), torch.tensor([0, 7]))

    def no_package(self, y):
        import a_package_that_nobody_has  # noqa: F401

    def no_name(self, y):
        from torch.nn import Perceptronium  # noqa: F401

    def no_library(self, y):
        ctypes.CDLL("libcudnn_of_another_age.so.99")

    def no_file(self, y):
        Path("/scratch/of/somebody/table.csv").read_text()

    def no_dataset_file(self, y):
        h5py.File("/scratch/of/somebody/scans.h5")

    def damaged_file(self, y):
        path = Path(tempfile.mkdtemp()) / "damaged.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=np.random.default_rng(0).random((64, 64)), compression="gzip")
            place = file["x"].id.get_chunk_info(0).byte_offset
        with path.open("r+b") as raw:
            raw.seek(place)
            raw.write(b"\xff" * 200)
        h5py.File(path)["x"][:]

    def cut_file(self, y):
        path = Path(tempfile.mkdtemp()) / "cut.h5"
        with h5py.File(path, "w") as file:
            file["x"] = np.zeros(10000)
        os.truncate(path, 5000)
        h5py.File(path)

    def locked_file(self, y):
        path = Path(tempfile.mkdtemp()) / "locked.h5"
        with h5py.File(path, "w", locking=True):
            code = f"import h5py; h5py.File({str(path)!r}, locking=True)"
            done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
            raise BlockingIOError(done.stderr.splitlines()[-1].partition(": ")[2])

    def full_disk(self, y):
        with open("/dev/full", "w") as file:
            file.write("x")

    def huge_array(self, y):
        np.ones(1 << 50, dtype=np.float32)

    def huge_tensor(self, y):
        torch.empty(1 << 50)

    def many_files(self, y):
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        self.files = [socket.socket() for _ in range(300)]

    def taken_port(self, y):
        first = socket.socket()
        first.bind(("127.0.0.1", 0))
        first.listen()
        torch.distributed.TCPStore("127.0.0.1", first.getsockname()[1], 1, is_master=True)

    def weights(self, y):
        self.load_state_dict({"other.weight": torch.zeros(1)})

    def damaged_weights(self, y):
        path = Path(tempfile.mkdtemp()) / "weights.pt"
        torch.save({"a": torch.zeros(100)}, path)
        os.truncate(path, 300)
        torch.load(path)

    def nan(self, y):
        self.layer.weight.data.fill_(math.nan)

    def anomaly(self, y):
        with torch.autograd.detect_anomaly(check_nan=True):
            x = torch.zeros(1, requires_grad=True)
            (torch.sqrt(x) * 0).sum().backward()

    def kill(self, y):
        os.kill(os.getpid(), signal.SIGKILL)

    def crash(self, y):
        ctypes.string_at(0)

    def abort(self, y):
        os.abort()

    def illegal(self, y):
        os.kill(os.getpid(), signal.SIGILL)

    def bus(self, y):
        path = Path(tempfile.mkdtemp()) / "mapped"
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        os.truncate(path, 0)
        return mapped[0]

    def hang(self, y):
        time.sleep(3600)

    def memory(self, y):
        self.kept = [bytearray(os.urandom(1 << 20)) * 64 for _ in range(200)]

    def vanish(self, y):
        os._exit(0)
