// The other side of benchmarks/javascript.py: runs machines in this process, one request a line.
//
// In:  {"definition", "input", "at_once", "seconds"}
// Out: {"runs", "seconds", "cpu", "output"}: rounds of `at_once` executions for at least `seconds`; `cpu` is that of all threads of this
//      process, in seconds; `output` is the last execution's. {"error"} when one did not end well.

import { createInterface } from "node:readline";
import { StateMachine } from "aws-local-stepfunctions";

const machines = new Map();

function machineOf(definition) {
  const key = JSON.stringify(definition);
  if (!machines.has(key)) machines.set(key, new StateMachine(definition));
  return machines.get(key);
}

async function measure({ definition, input, at_once: atOnce, seconds }) {
  const machine = machineOf(definition);
  const cpu = process.cpuUsage();
  const began = performance.now();
  let runs = 0;
  let output;
  do {
    const results = [];
    for (let n = 0; n < atOnce; n++) results.push(machine.run(input).result);
    output = (await Promise.all(results)).at(-1);
    runs += atOnce;
  } while (performance.now() - began < seconds * 1000);
  const elapsed = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  return { runs, seconds: elapsed, cpu: (used.user + used.system) / 1e6, output };
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await measure(JSON.parse(line));
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
