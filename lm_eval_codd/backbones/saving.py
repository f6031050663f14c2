"""A backbone whose weights have changed becomes a folder that `load_backbone` reads, in its checkpoint's own layout."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, Checkpoint, CheckpointError, find_checkpoint
from lm_eval_codd.backbones.placement import default_dtype
from lm_eval_codd.backbones.registry import find_layout
from lm_eval_codd.tensors.saving import save_tensors

if TYPE_CHECKING:
    from lm_eval_codd.backbones.backbone import Backbone

_WEIGHTS = "model.safetensors"


class Saver:
    """Writes a backbone under the names, and in the dtype, of the checkpoint that it was loaded from.

    Made before training, so that what cannot be written is said at once.

    Args:
        backbone: of `load_backbone`.
        family: as that was given it.
        revision: likewise.
        mask_id: likewise; config.json names it then.

    Raises:
        CheckpointError: this layout stores its weights in another form than its class has them.
    """

    def __init__(
        self,
        backbone: Backbone,
        family: str | None = None,
        revision: str | None = None,
        mask_id: int | None = None,
    ) -> None:
        self._backbone, self._mask_id = backbone, mask_id
        self._checkpoint = find_checkpoint(backbone.source, revision)
        self._dtype = default_dtype(self._checkpoint)
        layout = find_layout(self._checkpoint, family)
        self._names = {name: layout.renamed(name) for name in self._checkpoint.stored}
        own = {name: tensor.numel() for name, tensor in backbone.model.state_dict().items()}
        if any(own.get(inner) != self._checkpoint.stored[name].size for name, inner in self._names.items()):
            raise CheckpointError(
                f"checkpoint `{backbone.source}`: weights of {layout.family} are stored in another form than they are "
                "computed in, and cannot be written back; give a checkpoint of another family"
            )

    def save(self, folder: Path) -> None:
        """Write config, tokenizer and weights into `folder`."""
        own = self._backbone.model.state_dict()
        # Cloned, since tied weights share their memory and a file may have them twice.
        weights = {name: own[inner].detach().to("cpu", self._dtype).clone() for name, inner in self._names.items()}
        folder.mkdir(parents=True, exist_ok=True)
        _copy_configuration(self._checkpoint, folder, self._mask_id)
        save_tensors(folder / _WEIGHTS, weights, {"format": "pt"})


def _copy_configuration(checkpoint: Checkpoint, folder: Path, mask_id: int | None) -> None:
    """Everything but weights and their index; config.json with the mask token that was given."""
    for path in sorted(checkpoint.folder.iterdir()):
        wanted = any(fnmatch(path.name, pattern) for pattern in CONFIG_FILES)
        if path.is_file() and wanted and not path.name.endswith(".index.json"):
            shutil.copyfile(path, folder / path.name)
    if mask_id is not None:
        text = json.dumps({**checkpoint.config, "mask_token_id": mask_id}, indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
