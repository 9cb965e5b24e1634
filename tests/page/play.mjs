// Plays the session of README with a browser beside it. The page is loaded once for each view and follows what happens live.

import assert from "node:assert/strict";
import { mkdir, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { Session } from "./session.mjs";

const [program, executablePath, screenshots] = process.argv.slice(2);
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SYNC = "#/sync/RootSync/config-management-system/go-hello";
const PLATFORM = SYNC.replace("go-hello", "platform");
// Namespaces, and objects in each: ten thousand in all.
const [NAMESPACES, EACH] = [40, 249];
const start = Date.now();
const say = (text) => console.log(`${((Date.now() - start) / 1000).toFixed(1)} s  ${text}`);

await rm(screenshots, { recursive: true, force: true });
await mkdir(screenshots, { recursive: true });
const session = await Session.start(program);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
const complaints = [];

// A page at this view. Everything that the browser complains about is kept, such as what the content security policy refuses.
async function open(view, options = {}, prepare = async () => {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => !request.url().startsWith(new URL("/", session.page).href) && complaints.push(request.url()));
  if (files) await page.route(/\/ui\/[a-z]*(\.js|\.css)?(#.*)?$/, fromDisk);
  await prepare(page);
  await page.goto(session.page + view);
  await page.locator("#live[data-state=live]").waitFor();
  return page;
}

// With NOMOS_PAGE_FILES the files are those of that directory, so that a change is seen without a build.
const files = process.env.NOMOS_PAGE_FILES;
async function fromDisk(route) {
  const answer = await route.fetch();
  const name = new URL(route.request().url()).pathname.split("/").pop() || "index.html";
  return route.fulfill({ response: answer, body: await readFile(`${files}/${name}`) });
}

const shows = (page, selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: 20_000 });

// A screenshot, after axe has found nothing.
async function keep(page, name) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(found, [], `axe in ${name}`);
  await page.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true });
  say(`${name}.png`);
}

// The same view in the dark and on a telephone.
async function keepOthers(view, name, shown) {
  for (const [kind, options] of [["dark", { colorScheme: "dark" }], ["narrow", { viewport: { width: 390, height: 844 } }]]) {
    const page = await open(view, options);
    await shows(page, ...shown);
    await keep(page, `${name}-${kind}`);
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wider <= 0, `${name}-${kind} is ${wider} pixels too wide`);
    await page.context().close();
  }
}

async function play() {
  const overview = await open("#/");
  await shows(overview, ".verdict", "go-hello is in sync");
  await session.platform(2, 1);
  await shows(overview, ".card", "platform");
  await shows(overview, ".verdict", "All 2 syncs are in sync");
  await keep(overview, "1-in-sync");
  const detail = await open(SYNC);
  await shows(detail, ".tree", "go-hello");

  say("other clients change objects");
  await session.control("-n", "go-hello", "scale", "deployment", "go-hello", "--replicas=5");
  await shows(overview, ".entry.back", "kubectl changed deployment.apps/go-hello/go-hello: .spec.replicas");
  await shows(overview, ".entry.back .removed", "replicas: 5");
  const port = '[{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]';
  await session.control("-n", "go-hello", "patch", "service", "go-hello", "--type=json", "-p", port);
  await shows(overview, ".entry.back", "kubectl-patch changed service/go-hello/go-hello");
  await session.control("delete", "namespace", "go-hello");
  await shows(overview, ".entry.back", "deleted namespace/go-hello");
  await shows(overview, "#put-back", "kubectl (1)");
  await shows(detail, ".entry.back", "kubectl-patch");

  say("a commit");
  await session.replace("namespaces/go-hello/deployment.yaml", "replicas: 2", "replicas: 3");
  const three = await session.commit("Three of them");
  await shows(overview, ".entry.commit", `${three.slice(0, 7)} · 1 changed`);
  await shows(overview, ".entry.commit .added", "replicas: 3");
  await shows(overview, ".verdict", "All 2 syncs are in sync");
  await keep(overview, "2-put-back");
  await keepOthers("#/", "2-put-back", [".entry.commit .added", "replicas: 3"]);

  say("a broken commit");
  await session.copy("namespaces/go-hello/service.yaml", "namespaces/go-hello/copy.yaml");
  await session.commit("Oops");
  await shows(overview, ".verdict", "go-hello is broken; 1 other in sync");
  await shows(overview, ".card.bad .error", "KNV1029");
  await shows(detail, ".why .places", "namespaces/go-hello/copy.yaml:4:9");
  await keep(overview, "3-broken");
  await keyboard(detail);
  await keep(detail, "3-broken-sync");

  say("a commit that deletes everything");
  await session.git(["rm", "-qr", "namespaces"]);
  const away = await session.commit("Everything away");
  await shows(detail, ".held h2", "If it is approved, 5 objects will be deleted");
  await shows(detail, ".deletions li", "namespace/go-hello");
  await shows(overview, ".card.warn .error", "KNV2006");
  await keep(overview, "4-held");
  await keep(detail, "4-held-sync");
  await keepOthers(SYNC, "4-held-sync", [".held h2", "5 objects"]);

  say("a user approves it");
  const approval = (await detail.locator(".why .hint").first().textContent()).match(/configsync\.gke\.io\/approve-prune=\S+/)[0];
  assert.ok(approval.includes(away), approval);
  await session.control("annotate", "rootsync", "go-hello", "-n", "config-management-system", "--overwrite", approval);
  await shows(overview, ".verdict", "All 2 syncs are in sync");
  await shows(overview, ".entry.commit", `${away.slice(0, 7)} · 5 removed`);
  await keep(overview, "5-deleted");
  await Promise.all([overview, detail].map((page) => page.context().close()));
}

// The tree is used with the keyboard alone.
async function keyboard(page) {
  const active = () => page.evaluate(() => {
    const id = document.querySelector(".tree").getAttribute("aria-activedescendant");
    return document.getElementById(id)?.textContent;
  });
  await page.locator("#only-bad").focus();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "tree");
  const expanded = () => page.locator(".row.group").first().getAttribute("aria-expanded");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await expanded(), "false");
  await page.keyboard.press("ArrowRight");
  assert.equal(await expanded(), "true");
  await page.keyboard.press("ArrowRight");
  assert.match(await active(), /deployment\.apps\/go-hello/);
  await shows(page, ".details", "0/3");
  await page.keyboard.press("End");
  assert.match(await active(), /^ingress/);
  await page.keyboard.press("Home");
  await page.keyboard.type("go-hello");
  assert.match(await active(), /go-hello/);
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowRight");
}

// Ten thousand objects of the second sync: few are elements at a time, and every one is reached.
async function many() {
  const page = await open(PLATFORM);
  await session.platform(NAMESPACES, EACH);
  const total = NAMESPACES * (EACH + 1);
  await page.locator(".counts").filter({ hasText: `${total} current` }).waitFor({ timeout: 120_000 });
  const [frames, longest, most] = await page.evaluate(async () => {
    const tree = document.querySelector(".tree");
    let [frames, longest, most] = [0, 0, 0];
    for (let top = 0; top < tree.scrollHeight; top += 4000) {
      const before = performance.now();
      tree.scrollTop = top;
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
      [frames, longest, most] = [frames + 1, Math.max(longest, performance.now() - before), Math.max(most, document.querySelectorAll(".row").length)];
    }
    return [frames, longest, most];
  });
  say(`${total} objects: ${frames} steps, the longest ${longest.toFixed(0)} ms, at most ${most} rows`);
  assert.ok(most < 80, `${most} rows are elements`);
  await page.locator(".tree").focus();
  await page.keyboard.press("End");
  await shows(page, "[aria-selected=true]", "team-39");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  await keep(page, "6-many-objects");
  await page.context().close();
}

// A value of the cluster is text, whatever it is.
async function hostile() {
  const text = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  const objects = [
    { kind: "ConfigMap", namespace: "shop", name: text, state: "Waiting", message: text, waits: `configmap/${text}`, commit: text },
  ];
  const answer = { generation: 1, objects, hidden: 3, held: null };
  const page = await open(SYNC, {}, (page) => page.route("**/api/objects*", (route) => route.fulfill({ json: answer })));
  await shows(page, ".row", text);
  assert.equal(await page.locator("img, main script").count(), 0);
  assert.match(await page.title(), /go-hello/);
  await page.context().close();
}

// A server that goes away is told, and the page comes back with it.
async function lost() {
  const page = await open("#/");
  await page.context().setOffline(true);
  await page.route("**/api/events", (route) => route.abort());
  await page.reload().catch(() => {});
  await page.context().setOffline(false);
  await page.reload();
  await shows(page, "#live", "Not connected");
  await page.unroute("**/api/events");
  await page.locator("#live[data-state=live]").waitFor({ timeout: 20_000 });
  await page.context().close();
}

// A viewer without a token is asked for one; a token in the address is taken out of it at once.
async function token() {
  const page = await open("#/");
  await page.route("**/api/**", (route) => route.fulfill({ status: 401 }));
  await page.goto(`${session.page}#token=abc%2Fdef`);
  await page.reload();
  await shows(page, "h1", "A token of the cluster is needed");
  assert.ok(!page.url().includes("abc"), page.url());
  await keep(page, "7-token");
  const [request] = await Promise.all([page.waitForRequest("**/api/overview"), page.reload()]);
  assert.equal(request.headers().authorization, "Bearer abc/def");
  await page.context().close();
}

let failed;
try {
  await play();
  assert.deepEqual(complaints, [], "the browser complains");
  await many();
  await hostile();
  assert.deepEqual(complaints, [], "the browser complains");
  await lost();
  await token();
} catch (error) {
  failed = error;
  const pages = browser.contexts().flatMap((context) => context.pages());
  for (const [index, page] of pages.entries()) await page.screenshot({ path: `${screenshots}/failed-${index}.png`, fullPage: true });
}
await browser.close();
await session.end();
if (failed) throw failed;
say(`everything held; screenshots are in ${screenshots}`);
