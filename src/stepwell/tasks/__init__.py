"""What a Task state's Resource can name: functions, nested executions, AWS services, HTTP endpoints.

A host makes one `Dispatcher` and gives it every RunTask effect as a `TaskRequest`; what fails is a `TaskError`.
"""

from stepwell.tasks.dispatcher import Dispatcher
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest

__all__ = ["Dispatcher", "Submitted", "TaskError", "TaskRequest"]
