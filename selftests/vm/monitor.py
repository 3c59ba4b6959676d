# SPDX-License-Identifier: MIT
"""QEMU's monitor, on the socket that vm.sh --monitor names."""
import os
import socket
import time


class Monitor:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(10)
        self.answer()

    def answer(self):
        text = b""
        while not text.endswith(b"(qemu) "):
            text += self.socket.recv(65536)

    def __call__(self, command):
        self.socket.sendall(command.encode() + b"\n")
        self.answer()


def wait(path, process, seconds=200):
    end = time.time() + seconds
    while not os.path.exists(path):
        if process.poll() is not None or time.time() > end:
            return False
        time.sleep(0.05)
    return True
