"""What a user may declare: specs, the tables of activations, losses, optimizers, ..., checked at the door."""
