"""What a backbone is fine-tuned to: each objective's loss and noise as pure functions, a file each.

Logits are of the token AT a position throughout; where the original shifts its labels, the backbone has done so.
"""
