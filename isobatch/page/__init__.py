"""The page of the lesson: what a forgotten mask does, computed and drawn as one HTML file.

`lesson_page` computes, `rendering` writes HTML; neither knows HTTP. Drawing is done in the reader's
browser by `web/`, with d3, which is shipped with the package.
"""

from isobatch.page.data import LessonData
from isobatch.page.lesson_page import LessonPage, lesson_data
from isobatch.page.rendering import content_security_policy, render_page

__all__ = ["LessonData", "LessonPage", "content_security_policy", "lesson_data", "render_page"]
