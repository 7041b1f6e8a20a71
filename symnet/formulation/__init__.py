"""What is declared, as equations of the language: layers, losses, objectives, equations in text."""
