"""The lesson page: the effect of a missing attention mask, as one HTML file drawn with d3."""

from isobatch.page.lesson_data import LessonData
from isobatch.page.lesson_model import check_lesson
from isobatch.page.lesson_page import LessonPage
from isobatch.page.rendering import content_security_policy, render_page

__all__ = ["LessonData", "LessonPage", "check_lesson", "content_security_policy", "render_page"]
