// The quickstart as a process: a cluster in memory, an agent, a repository, and the commands of README's session.

import { spawn, execFile } from "node:child_process";
import { readFile, writeFile, copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

  // A second sync with a repository of its own: so many ConfigMaps in each of these Namespaces.
  async platform(namespaces, each) {
    this.second ??= await mkdtemp(join(tmpdir(), "nomos-page-"));
    const file = (name, documents) => writeFile(join(this.second, name), documents.map((one) => JSON.stringify(one)).join("\n---\n"));
    const number = (index, digits) => String(index).padStart(digits, "0");
    for (let index = 0; index < namespaces; index++) {
      const namespace = `team-${number(index, 2)}`;
      const maps = Array.from({ length: each }, (_, map) => ({
        apiVersion: "v1", kind: "ConfigMap", metadata: { name: `settings-${number(map, 3)}`, namespace }, data: { index: String(map) },
      }));
      await file(`${namespace}.yaml`, [{ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } }, ...maps]);
    }
    await run("git", ["init", "-q", "-b", "main"], { cwd: this.second });
    await this.commit("Settings of the teams", this.second);
    const sync = {
      apiVersion: "configsync.gke.io/v1beta1", kind: "RootSync", metadata: { name: "platform", namespace: "config-management-system" },
      spec: { sourceFormat: "unstructured", git: { repo: this.second, branch: "main", auth: "none", period: "1s" } },
    };
    await writeFile(join(this.second, ".git", "root-sync.json"), JSON.stringify(sync));
    await this.control("apply", "-f", join(this.second, ".git", "root-sync.json"));
  }

  async git(args, cwd = this.repository) {
    const who = ["-c", "user.name=A user", "-c", "user.email=user@example.com"];
    return run("git", [...who, ...args], { cwd });
  }

  async commit(message, cwd = this.repository) {
    await this.git(["add", "-A"], cwd);
    await this.git(["commit", "-qm", message], cwd);
    return (await this.git(["rev-parse", "HEAD"], cwd)).stdout.trim();
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
    if (this.second) await rm(this.second, { recursive: true });
  }
}
