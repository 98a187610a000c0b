"""Any OpenAI-compatible endpoint through the official SDK: chat completions, and the batch API where there is one."""

from askance.errors import ConfigError

try:
    import openai as _openai  # noqa: F401 - asked for here, once, so that its absence is told with the remedy
except ImportError as exc:
    _msg = "the teacher `openai` needs the package openai; run: pip install 'askance[openai]'"
    raise ConfigError(_msg) from exc

from askance.teacher.openai.batch import OpenAIBatches
from askance.teacher.openai.chat import OpenAITeacher

__all__ = ["OpenAIBatches", "OpenAITeacher"]
