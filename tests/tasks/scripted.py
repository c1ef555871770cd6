"""AWS as a test scripts it: real models, answers from a list."""

from stepwell.tasks.aws_clients import Answer, AwsClients


class ScriptedAws(AwsClients):
    """`answers[operation]` is a result, an exception, or a list of them, one a call (the last again and again)."""

    def __init__(self, **answers):
        super().__init__(endpoint=None)
        self.answers = answers
        self.calls = []

    async def call(self, service, operation, parameters, caller):
        self.calls.append((operation, parameters))
        answer = self.answers[operation]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return Answer(dict(answer), 200, {"x-amzn-requestid": "r"}, "r")

    def made(self, operation):
        return [parameters for name, parameters in self.calls if name == operation]
