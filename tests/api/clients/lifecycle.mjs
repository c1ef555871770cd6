// The life of a state machine through the JavaScript SDK. Prints what it saw as JSON.
import {
  CreateStateMachineCommand,
  DescribeExecutionCommand,
  RedriveExecutionCommand,
  SFNClient,
  StartExecutionCommand,
  TestStateCommand,
  paginateGetExecutionHistory,
} from "@aws-sdk/client-sfn";

const [endpoint, definition, state] = process.argv.slice(2);
const client = new SFNClient({
  endpoint,
  region: "us-east-1",
  credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY },
  disableHostPrefix: true,
});
const roleArn = "arn:aws:iam::000000000000:role/test";
const { stateMachineArn } = await client.send(new CreateStateMachineCommand({ name: "javascript", definition, roleArn }));
const { executionArn } = await client.send(new StartExecutionCommand({ stateMachineArn, input: '{"n":1}' }));

async function ended() {
  for (;;) {
    const found = await client.send(new DescribeExecutionCommand({ executionArn }));
    if (found.status !== "RUNNING") return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const first = await ended();
const events = [];
for await (const page of paginateGetExecutionHistory({ client, pageSize: 2 }, { executionArn })) {
  events.push(...page.events.map((event) => event.type));
}
await client.send(new RedriveExecutionCommand({ executionArn }));
const second = await ended();
const tested = await client.send(new TestStateCommand({ definition: state }));
console.log(
  JSON.stringify({ status: first.status, events, redriveCount: second.redriveCount, dates: second.startDate instanceof Date, tested: tested.output }),
);
