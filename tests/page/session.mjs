// The quickstart as a process: a cluster in memory, an agent, a repository, and the commands of README's session.

import { spawn, execFile } from "node:child_process";
import { readFile, writeFile, copyFile } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

export class Session {
  // Starts the quickstart, and waits until it has said where everything is.
  static async start(program) {
    const child = spawn(program, ["--stay"], { stdio: ["pipe", "pipe", "inherit"] });
    let said = "";
    const find = (pattern) => said.match(pattern)?.[1];
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the quickstart is not up:\n${said}`)), 60_000);
      child.stdout.on("data", (text) => {
        said += text;
        if (said.includes("Ctrl-C ends")) resolve(clearTimeout(late));
      });
      child.on("exit", (code) => reject(new Error(`the quickstart ended with ${code}:\n${said}`)));
    });
    const session = new Session();
    session.child = child;
    session.page = find(/Look at it in a browser: (\S+)/);
    session.kubeconfig = find(/export KUBECONFIG=(.*)/);
    session.kubectl = find(/^ {2}(.*) delete namespace/m).split(" ");
    session.repository = find(/ {2}cd (\S+) /);
    return session;
  }

  // Runs kubectl.
  async control(...args) {
    const [program, ...first] = this.kubectl;
    const { stdout } = await run(program, [...first, ...args], { env: { ...process.env, KUBECONFIG: this.kubeconfig } });
    return stdout;
  }

  async git(...args) {
    const who = ["-c", "user.name=A user", "-c", "user.email=user@example.com"];
    return run("git", [...who, ...args], { cwd: this.repository });
  }

  async commit(message) {
    await this.git("add", "-A");
    await this.git("commit", "-qm", message);
    return (await this.git("rev-parse", "HEAD")).stdout.trim();
  }

  async replace(path, from, to) {
    const file = `${this.repository}/${path}`;
    await writeFile(file, (await readFile(file, "utf8")).replace(from, to));
  }

  copy(from, to) {
    return copyFile(`${this.repository}/${from}`, `${this.repository}/${to}`);
  }

  // Ends it, and waits until everything is removed.
  async end() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin.end();
    const late = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    await ended;
    clearTimeout(late);
  }
}
