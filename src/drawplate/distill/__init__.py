"""Knowledge distillation: a teacher's answers, the losses and the step."""
