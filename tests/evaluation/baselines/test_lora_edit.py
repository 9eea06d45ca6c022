"""LoRA-Edit: lessons hide what they say they hide, and filling the hole of this clip gets better with them."""

from dataclasses import replace

import torch

from novakit.evaluation.baselines import lora_edit
from novakit.evaluation.baselines.lora import clip_lora, clip_loss, tune
from novakit.evaluation.baselines.lora_edit import grey_lesson, keyframe_lessons


def test_the_lesson_does_not_show_what_is_hidden(pipe, task):
    one = task.clip(0)
    hidden = one.mask.clone()
    hidden[:, :, 0] = 0.0  # the first frame stays whole
    painted = torch.where(hidden.bool(), -one.source, one.source)
    plain, other = grey_lesson(pipe, one.source, one.mask), grey_lesson(pipe, painted, one.mask)
    assert torch.equal(plain.control, other.control)
    assert not torch.equal(plain.target_latents, other.target_latents)
    first = one.source.clone()
    first[:, :, 0] *= -1.0
    assert not torch.equal(plain.control, grey_lesson(pipe, first, one.mask).control)


def test_keyframes_but_the_first_are_lessons_of_one_frame(pipe, task):
    lessons = keyframe_lessons(pipe, task.clip(0))
    assert len(lessons) == len(task.indices) - 1
    assert all(lesson.target_latents.shape == (1, 48, 1, 8, 12) for lesson in lessons)
    assert all(lesson.control.shape == (1, 160, 1, 8, 12) for lesson in lessons)


def test_the_hole_of_this_clip_is_filled_better_after_its_lessons(pipe, task):
    one, config = task.clip(1), replace(lora_edit.CONFIG.lora, steps=15)
    lesson = grey_lesson(pipe, one.source, one.mask)

    def fixed_loss():
        generator = torch.Generator().manual_seed(5)
        noise = torch.randn(lesson.target_latents.shape, generator=generator)
        with torch.no_grad():
            return sum(clip_loss(pipe, lesson, torch.tensor([sigma]), noise).item() for sigma in (0.5, 0.9))

    plain = fixed_loss()
    with clip_lora(pipe.transformer.base, config, 0) as parameters:
        tune(pipe, parameters, [lesson], config, 0)
        assert fixed_loss() < 0.95 * plain
    assert fixed_loss() == plain
