"""What a run shows of itself while it goes on."""

from __future__ import annotations


class Bar:
    """Progress of one epoch: a tqdm bar, plain lines where tqdm is missing, or nothing."""

    def __init__(self, show, epoch, epochs, total, start):
        self.bar, self.title, self.plain = None, f"epoch {epoch + 1}/{epochs}", show
        if show:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar, self.plain = tqdm(desc=self.title, total=total, initial=start, unit="batch"), False

    def advance(self, line, point):
        if self.bar is not None:
            self.bar.set_postfix_str(line, refresh=False)
            self.bar.update()
        elif self.plain and point:
            print(f"{self.title}: {line}", flush=True)

    def finish(self, line):
        if self.bar is not None:
            self.bar.set_postfix_str(line)
        elif self.plain:
            print(f"{self.title}: {line}", flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.bar is not None:
            self.bar.close()
