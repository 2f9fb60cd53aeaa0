"""File systems of one's own whose power can be cut: ext4 on a loop device, stopped at once with nothing flushed."""
import fcntl
import os
import struct
import subprocess
import time

GOINGDOWN = 0x8004587D  # FS_IOC_SHUTDOWN of ext4
NO_LOG_FLUSH = 2


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class LoopFs:
    """Mounted at `target`; the image lies beside it."""

    def __init__(self, target, size):
        self.target = target
        self.image = target + ".ext4"
        self.is_mounted = False
        os.makedirs(target)
        with open(self.image, "wb") as image:
            image.truncate(size)
        run("mkfs.ext4", "-q", "-F", self.image)
        self.mount()

    def mount(self):
        run("mount", "-o", "loop", self.image, self.target)
        self.is_mounted = True

    def unmount(self):
        """Waits for those who still have files open."""
        for attempt in range(50):
            try:
                run("umount", self.target)
                self.is_mounted = False
                return
            except OSError:
                if attempt == 49:
                    raise
                time.sleep(0.1)

    def cut_power(self):
        """From here on every write and sync fails, and what was not synced is gone."""
        folder = os.open(self.target, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, GOINGDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def close(self):
        if self.is_mounted:
            self.unmount()
        if os.path.exists(self.image):
            os.unlink(self.image)


def why_not(folder):
    """Why file systems cannot be made and cut in this folder; None: they can."""
    if os.geteuid() != 0:
        return "needs root to mount"
    probe = None
    try:
        probe = LoopFs(os.path.join(folder, "probe"), 32 << 20)
        probe.cut_power()
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no loop mounts with shutdown here: {error}"
    finally:
        if probe is not None:
            probe.close()
    return None
