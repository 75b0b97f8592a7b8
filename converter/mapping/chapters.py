"""The novel itself: outline and chapters. Mapping rules "Outline" and "Chapter"."""

from typing import Final

from converter.mapping.kept import Document, extras, keep_entries, plain
from converter.mapping.lifecycle import milliseconds
from converter.models.legacy import Chapter, Job, OutlineEntry
from converter.repairs import Repairs
from converter.times import iso

CHAPTER_STATUS: Final = {
    "pending": "pending",
    "generating": "in-progress",
    "completed": "completed",
    "failed": "failed",
}

# US dollars per token, prompt and completion.
RATES: Final = {
    "gpt-4o": (0.005 / 1000, 0.015 / 1000),
    "gpt-4o-mini": (0.00015 / 1000, 0.0006 / 1000),
}

UNKNOWN_MODEL: Final = "unknown"

_OUTLINE_FIELDS: Final = frozenset(OutlineEntry.__annotations__)
_CHAPTER_FIELDS: Final = frozenset(Chapter.__annotations__)
_CHAPTER_TARGET_FIELDS: Final = frozenset({"model", "costInUsd", "tokens", "attemptCount", "legacyStatus"})


def outline(job: Job, repairs: Repairs) -> list[Document]:
    """The outline's entries as they are, with what their readers can't do without."""
    mapped = []
    for position, entry in zip(repairs.positions("outline"), job.get("outline") or [], strict=False):
        target = plain(entry, _OUTLINE_FIELDS, repairs)
        if "chapterNumber" not in target:
            repairs.count("outline-number-from-position")
            target["chapterNumber"] = position + 1
        if not target.get("title"):
            repairs.count("outline-title-fallback")
            target["title"] = heading(target["chapterNumber"])
        if not target.get("summary"):
            repairs.count("outline-summary-fallback")
            target["summary"] = "(no summary)"
        if "keyEvents" not in target:
            repairs.count("outline-key-events-defaulted")
            target["keyEvents"] = []
        if "humanLikeElements" in target:
            target["humanLikeElements"] = keep_entries(target["humanLikeElements"], repairs)
        mapped.append(target)
    return mapped


def heading(number: float) -> str:
    """``Chapter 3``, also where the dump has the number as a double."""
    return f"Chapter {int(number) if number == number // 1 else number}"


def chapters(job: Job, repairs: Repairs) -> list[Document]:
    """The chapters in the target's form; their texts are passed on without being looked at."""
    usage = (job.get("modelUsage") or {}).get("chapterGeneration") or {}
    model = usage.get("model")
    return [
        _chapter(chapter, position, model, repairs)
        for position, chapter in zip(repairs.positions("chapters"), job.get("chapters") or [], strict=False)
    ]


def _chapter(chapter: Chapter, position: int, model: str | None, repairs: Repairs) -> Document:
    number = chapter.get("chapterNumber")
    if number is None:
        repairs.count("chapter-number-from-position")
        number = position + 1
    title = chapter.get("title")
    if not title:
        repairs.count("chapter-title-fallback")
        title = heading(number)
    content = chapter.get("content")
    legacy_status = chapter.get("status")
    status = CHAPTER_STATUS.get(legacy_status or "")
    if status is None:
        repairs.count("chapter-status-inferred")
        status = "completed" if content else "pending"
    words = chapter.get("wordCount")
    if words is None and status == "completed":
        repairs.count("word-count-counted")
        words = len(str(content).split()) if content else 0
    target: Document = {
        "chapterNumber": number,
        "title": title,
        "status": status,
        "wordCount": words,
        "content": content,
        "attempts": [],
        **_usage(chapter, model, repairs),
        **extras(chapter, _CHAPTER_FIELDS, repairs, ("chapters", position), _CHAPTER_TARGET_FIELDS),
    }
    # Each mapped status but "in-progress" is the legacy one; what it was is kept where the two differ.
    if legacy_status and legacy_status != status:
        target["legacyStatus"] = legacy_status
    attempts, reason, score = chapter.get("attempts"), chapter.get("failureReason"), chapter.get("qualityScore")
    if attempts is not None:
        target["attemptCount"] = attempts
    if reason is not None:
        target["failureReason"] = reason
    if score is not None:
        target["qualityScore"] = score
    attempted, generated = milliseconds(chapter.get("lastAttemptAt")), milliseconds(chapter.get("generatedAt"))
    if attempted is not None:
        target["lastAttemptAt"] = iso(attempted)
    if generated is not None:
        target["generatedAt"] = iso(generated)
    return target


def _usage(chapter: Chapter, model: str | None, repairs: Repairs) -> Document:
    cost = chapter.get("cost")
    total = chapter.get("tokensUsed")
    if not model:
        repairs.count("chapter-model-unknown")
    if cost is None:
        repairs.count("chapter-cost-defaulted")
    if total is None:
        repairs.count("chapter-tokens-defaulted")
    prompt, completion = 0, 0
    if cost or total:
        split = split_tokens(total or 0, cost or 0, model)
        if split is None:
            repairs.count("token-split-unknown")
        else:
            prompt, completion = split
    return {
        "model": model or UNKNOWN_MODEL,
        "costInUsd": cost or 0,
        "tokens": {"promptTokens": prompt, "completionTokens": completion, "totalTokens": total or 0},
    }


def split_tokens(total: float, cost: float, model: str | None) -> tuple[int, int] | None:
    """Prompt and completion tokens, solved from their sum and what they cost together in US dollars.

    ``None`` when the model's rates aren't known, or the solution isn't whole (within 1e-6) or not in 0..total.
    """
    if model not in RATES:
        return None
    prompt_rate, completion_rate = RATES[model]
    completion = (cost - total * prompt_rate) / (completion_rate - prompt_rate)
    prompt = total - completion
    most = total + 1e-6
    if not (-most <= completion <= most and -most <= prompt <= most):
        return None
    whole_prompt, whole_completion = round(prompt), round(completion)
    if whole_prompt < 0 or abs(prompt - whole_prompt) > 1e-6:
        return None
    if whole_completion < 0 or abs(completion - whole_completion) > 1e-6:
        return None
    return whole_prompt, whole_completion
